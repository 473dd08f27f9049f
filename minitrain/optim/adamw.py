"""AdamW: Adam with decoupled weight decay (Loshchilov, Hutter, 2019, arXiv:1711.05101).

With gradient g, moments m and v, step count t::

    w <- w (1 - lr * weight_decay)                decay, apart from the gradient
    m <- beta1 m + (1 - beta1) g
    v <- beta2 v + (1 - beta2) g^2
    w <- w - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array, array_module, to_numpy
from ..errors import CheckpointError, ConfigError
from ..nn.module import Module
from ..ops.contract import with_twin
from .groups import trainable_spans


@with_twin
def adamw_update(
    weight: Array,
    grad: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    grad_scale: float,
) -> None:
    """One AdamW update, in place.

    Args:
        weight: the weights.
        grad: their gradients, which are multiplied by ``grad_scale`` first and left unchanged.
        exp_avg: first moment m.
        exp_avg_sq: second moment v.
        step: number of this update, from 1.
        lr: learning rate.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        eps: added to the denominator.
        weight_decay: decoupled decay.
        grad_scale: the clipping factor, divided by the number of targets.
    """
    xp = array_module(weight)
    g = grad * weight.dtype.type(grad_scale)
    weight *= 1 - lr * weight_decay
    exp_avg *= beta1
    exp_avg += (1 - beta1) * g
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * g * g
    denominator = xp.sqrt(exp_avg_sq) / math.sqrt(1 - beta2**step) + eps
    weight -= lr / (1 - beta1**step) * exp_avg / denominator


class AdamW:
    """The AdamW optimizer for all trainable parameters of a model.

    Weight decay applies to matrices and tables, not to biases and norms.

    Args:
        model: the model; call ``pack(model)`` before for one update over flat memory instead of one per parameter.
        lr: learning rate, until ``set_lr``.
        betas: decay rates of the two moments.
        eps: added to the denominator.
        weight_decay: decoupled weight decay.

    Raises:
        ConfigError: if a setting is out of range.
    """

    def __init__(
        self,
        model: Module,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ConfigError(f"AdamW: betas = {betas} must lie in [0, 1)")
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"AdamW: {name} = {value} must be 0 or more")
        self.model, self.lr, self.betas, self.eps, self.weight_decay = model, lr, betas, eps, weight_decay
        self.steps = 0
        self._spans = trainable_spans(model)
        self._exp_avg = [array_module(span.data).zeros_like(span.data) for span in self._spans]
        self._exp_avg_sq = [array_module(span.data).zeros_like(span.data) for span in self._spans]

    def step(self, grad_scale: float = 1.0) -> None:
        """Update all weights from their gradients times ``grad_scale``."""
        self.steps += 1
        for span, exp_avg, exp_avg_sq in zip(self._spans, self._exp_avg, self._exp_avg_sq, strict=True):
            adamw_update(
                span.data,
                span.grad(),
                exp_avg,
                exp_avg_sq,
                step=self.steps,
                lr=self.lr,
                beta1=self.betas[0],
                beta2=self.betas[1],
                eps=self.eps,
                weight_decay=self.weight_decay if span.decay else 0.0,
                grad_scale=float(grad_scale),
            )

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for span in self._spans:
            for parameter, _ in span.parts.values():
                parameter.zero_grad()

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next update."""
        self.lr = lr

    def get_lr(self) -> float:
        """The learning rate of the next update."""
        return self.lr

    def state_dict(self) -> dict[str, Any]:
        """The state: ``step``, ``lr`` and ``moments``, arrays by ``exp_avg.<path>`` and ``exp_avg_sq.<path>``."""
        return {"step": self.steps, "lr": self.lr, "moments": self._moments()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave, also one of an unpacked model for a packed one.

        Raises:
            CheckpointError: if it belongs to other parameters. Nothing is loaded then.
        """
        own, given = self._moments(), state["moments"]
        for name in own.keys() ^ given.keys():
            raise CheckpointError(f"the optimizer state is of another model: only one of the two has {name}")
        for name, array in own.items():
            if tuple(given[name].shape) != tuple(array.shape):
                raise CheckpointError(
                    f"the optimizer state is of another model: {name} has shape {tuple(given[name].shape)} in it "
                    f"but {tuple(array.shape)} here"
                )
        for name, array in own.items():
            array[...] = array_module(array).asarray(np.asarray(to_numpy(given[name])))
        self.steps, self.lr = int(state["step"]), float(state["lr"])

    def _moments(self) -> dict[str, Array]:
        moments = {}
        for span, exp_avg, exp_avg_sq in zip(self._spans, self._exp_avg, self._exp_avg_sq, strict=True):
            for path in span.parts:
                moments[f"exp_avg.{path}"] = span.part(exp_avg, path)
                moments[f"exp_avg_sq.{path}"] = span.part(exp_avg_sq, path)
        return moments
