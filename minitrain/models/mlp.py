"""A multi-layer perceptron: linear layers with an activation between them (Rumelhart, Hinton, Williams, 1986)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array
from ..errors import ConfigError, ShapeError
from ..nn.core.init import generator
from ..nn.layers.linear import Linear
from ..ops.activations.gelu import gelu_backward, gelu_forward
from ..ops.activations.relu import relu_backward, relu_forward
from ..ops.activations.sigmoid import sigmoid_backward, sigmoid_forward
from ..ops.activations.silu import silu_backward, silu_forward
from ..ops.activations.tanh import tanh_backward, tanh_forward
from ..ops.classification.cross_entropy import cross_entropy_backward
from ..ops.contract.loss import Loss
from ..ops.linear.linear import LinearCache
from ..ops.regression.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from ..random import Key
from .common.config import CheckedConfig, check_config, one_of
from .common.cross_entropy import CrossEntropyModel
from .flops import Flops, linear_flops

Functions = tuple[Callable[..., Any], Callable[..., Any]]

ACTIVATIONS: dict[str, Functions] = {
    "relu": (relu_forward, relu_backward),
    "gelu": (gelu_forward, gelu_backward),
    "silu": (silu_forward, silu_backward),
    "tanh": (tanh_forward, tanh_backward),
    "sigmoid": (sigmoid_forward, sigmoid_backward),
}
CLASSIFICATION, REGRESSION = TASKS = ("classification", "regression")


@dataclass(frozen=True)
class MLPConfig(CheckedConfig):
    """Shape and task of an MLP.

    Attributes:
        widths: number of features of the input, of each hidden layer, and of the output.
        activation: ``"relu"``, ``"gelu"``, ``"silu"``, ``"tanh"`` or ``"sigmoid"``, after every layer except the last.
        task: ``"classification"``, whose outputs are class logits under cross-entropy, or ``"regression"``, whose
            outputs are numbers under the squared error.
        label_smoothing: share of each target spread over all classes in training, in [0, 1).
    """

    widths: tuple[int, ...]
    activation: str = "relu"
    task: str = CLASSIFICATION
    label_smoothing: float = 0.0

    def check_together(self) -> None:
        """Check the widths, the names, and that only a classification smooths labels."""
        if not isinstance(self.widths, tuple | list) or not all(isinstance(width, Integral) for width in self.widths):
            raise ConfigError(f"widths = {self.widths!r}: give whole numbers in a tuple, such as (2, 16, 1)")
        if len(self.widths) < 2:
            raise ConfigError(f"widths = {self.widths}: give the widths of input and output at least, such as (2, 1)")
        if min(self.widths) < 1:
            raise ConfigError(f"widths = {self.widths}: each must be 1 or more")
        one_of(ACTIVATIONS)("activation", self.activation)
        one_of(TASKS)("task", self.task)
        if self.label_smoothing and self.task != CLASSIFICATION:
            raise ConfigError(f"label_smoothing = {self.label_smoothing}: a regression has no labels to smooth; use 0")


class MLPCache(NamedTuple):
    """Saved for the backward."""

    layers: list[LinearCache]
    activations: list[Any]  # one fewer


class MLP(CrossEntropyModel):
    """An MLP for vectors, or for the last axis of any array.

    Its batches have ``inputs`` (..., widths[0]) and ``targets``: (...,) classes, where -100 is ignored. For a
    regression, targets are (..., widths[-1]) numbers.

    Args:
        config: shape and task.
        seed: of the initial weights. They are normal with variance 2 / (input width), which keeps the variance of
            ReLU's outputs (He et al., 2015, arXiv:1502.01852). The last layer's standard deviation is 0.02, so that an
            untrained model prefers no class. Biases are 0.
        dtype: float32, or float64 for gradient checks.

    Attributes:
        layers: the linear layers.
    """

    config_type = MLPConfig

    def __init__(self, config: MLPConfig, *, seed: int = 0, dtype: Any = np.float32) -> None:
        check_config(self, config)
        self.config = config
        self.classifies = self.is_likelihood = config.task == CLASSIFICATION
        init_rng = generator(seed)
        *hidden, last = zip(config.widths[:-1], config.widths[1:], strict=True)
        self.layers = [Linear(K, N, init_rng, std=math.sqrt(2 / K), dtype=dtype) for K, N in hidden]
        self.layers.append(Linear(*last, init_rng, dtype=dtype))

    def forward(self, x: Array, *, key: Key | None = None) -> tuple[Array, MLPCache]:
        """Map x (..., widths[0]) to out (..., widths[-1]); the key is for adapters."""
        activate, _ = ACTIVATIONS[self.config.activation]
        self._check_inputs(x)
        cache = MLPCache([], [])
        *hidden, last = self.layers
        for layer in hidden:
            x, layer_cache = layer.forward(x, key=key)
            x, activation_cache = activate(x)
            cache.layers.append(layer_cache)
            cache.activations.append(activation_cache)
        out, layer_cache = last.forward(x, key=key)
        cache.layers.append(layer_cache)
        return out, cache

    def _check_inputs(self, x: Array) -> None:
        """Say in the words of the data what does not fit, before a linear layer says it in its own."""
        width = self.config.widths[0]
        if np.ndim(x) == 0 or x.shape[-1] != width:
            raise ShapeError(f"MLP: the inputs {np.shape(x)} must have widths[0] = {width} features in their last axis")
        dtype = next(iter(self.layers[0].parameters())).data.dtype  # also where an adapter stands for the layer
        if x.dtype != dtype:
            raise ShapeError(f"MLP: the inputs are {x.dtype} and the model is {dtype}: inputs.astype({str(dtype)!r})")

    def backward(self, dout: Array, cache: MLPCache) -> Array:
        """Map dout (..., widths[-1]) to dx (..., widths[0])."""
        _, activate_backward = ACTIVATIONS[self.config.activation]
        *hidden, last = self.layers
        dx = last.backward(dout, cache.layers[-1])
        for layer, layer_cache, activation_cache in zip(
            reversed(hidden), reversed(cache.layers[:-1]), reversed(cache.activations), strict=True
        ):
            dx = activate_backward(dx, activation_cache)
            dx = layer.backward(dx, layer_cache)
        return dx

    def logits_and_targets(self, batch: list[Any], *, key: Key | None) -> tuple[Array, Array, MLPCache]:
        """Outputs (..., widths[-1]), targets and the forward's cache."""
        inputs, targets = batch
        out, cache = self.forward(inputs, key=key)
        return out, targets, cache

    def forward_loss(self, logits: Array, targets: Array, *, smoothing: float, each: bool = False) -> tuple[Loss, Any]:
        """The loss of the task, summed or of each target, and its cache."""
        if self.classifies:
            return super().forward_loss(logits, targets, smoothing=smoothing, each=each)
        return mean_squared_error_forward(logits, targets, each=each)

    def backward_loss(self, dtotal: float, cache: Any) -> Array:
        """The gradient of the outputs, in separate memory: an MLP's cache serves any number of backwards."""
        backward = cross_entropy_backward if self.classifies else mean_squared_error_backward
        return backward(dtotal, cache)[0]

    def forward_flops(self) -> Flops:
        """Arithmetic of the forward of one vector."""
        return Flops(tokens=1, products=linear_flops(self, 1), attention=0)
