"""Low-rank adapters (LoRA: Hu et al., 2021, arXiv:2106.09685): fine-tune a model with few new weights.

A linear layer keeps its frozen weight W and gets an added correction of rank R::

    out = x W^T + bias + (alpha / R) x A^T B^T          A (R, K), B (N, R), with B = 0 at first

So the adapted model starts equal to the original. Only A and B are trained and saved. ``merge_lora`` adds
``(alpha / R) B A`` to W and removes the adapter.

    add_lora(model, rank=8, alpha=16)
    pack(model)                                 # frozen weights get no memory for gradients
    ...                                         # train
    save(lora_state_dict(model)); merge_lora(model)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ...backend.arrays import Array, array_module
from ...errors import ConfigError, MinitrainError
from ...ops.activations.gelu import GeluCache, gelu_backward, gelu_forward
from ...ops.contract.op import Into, Skip, Target
from ...ops.linear.dropout import DropoutCache, dropout_backward, dropout_forward
from ...ops.linear.linear import LinearCache
from ...ops.linear.low_rank import LowRankCache, low_rank_backward, low_rank_forward
from ...ops.norms.residual import residual_forward
from ...random import Key, fold
from ..core.init import generator, normal
from ..core.module import Module, some_of
from ..core.parameter import Parameter
from ..layers.linear import Linear


class LoRALinearCache(NamedTuple):
    """Saved for the backward."""

    base: LinearCache
    dropout: DropoutCache
    low_rank: LowRankCache


class GeluLoRALinearCache(NamedTuple):
    """Saved for the backward of ``forward_after_gelu``."""

    linear: LoRALinearCache
    gelu: GeluCache


class LoRALinear(Module):
    """A frozen linear layer with a trainable low-rank correction; it replaces the linear layer in a model.

    Args:
        base: the layer; its weight and bias are frozen.
        rank: R, the rank of the correction.
        alpha: the correction is scaled by ``alpha / rank``, so that one learning rate suits every rank.
        init_rng: source of the initial A.
        dropout: probability of dropping an element of the correction's input, if ``forward`` gets a key. Models and
            layers pass theirs to all linear layers except those of patches and experts.
        path: path of the layer in its model, so that each adapter has masks of its own.

    Attributes:
        base: the linear layer, K -> N.
        lora_a: (R, K), normal with variance 1 / K at first.
        lora_b: (N, R), zeros at first.

    Raises:
        ConfigError: if ``rank`` or ``alpha`` is not positive, or ``dropout`` not in [0, 1).
    """

    def __init__(
        self,
        base: Linear,
        rank: int,
        alpha: float,
        init_rng: np.random.Generator,
        *,
        dropout: float = 0.0,
        path: str = "",
    ) -> None:
        if rank < 1 or not alpha > 0 or not 0 <= dropout < 1:
            raise ConfigError(
                f"LoRALinear: rank={rank} must be 1 or more, alpha={alpha} positive, and dropout={dropout} in [0, 1)"
            )
        weight = base.weight.data
        xp, (N, K) = array_module(weight), weight.shape
        self.base = base
        for parameter in base.parameters():
            parameter.trainable = False
        self.lora_a = Parameter(xp.asarray(normal(init_rng, (rank, K), 1 / math.sqrt(K), weight.dtype)))
        self.lora_b = Parameter(xp.zeros((N, rank), weight.dtype))
        self.scale, self.dropout, self.path = alpha / rank, dropout, path

    @property
    def out_features(self) -> int:
        """Width N of the output."""
        return self.base.out_features

    @property
    def weight(self) -> NoReturn:
        """Not available: multiplying by the weight alone would miss the correction.

        Raises:
            MinitrainError: always.
        """
        raise MinitrainError(
            "LoRALinear: the model multiplies by this layer's weight directly, bypassing the adapter; "
            "leave it out of the targets of add_lora (heads of models are such layers)"
        )

    def forward(self, x: Array, *, key: Key | None = None) -> tuple[Array, LoRALinearCache]:
        """Map x (..., K) to out (..., N); ``key=None`` means evaluation."""
        out, base = self.base.forward(x)
        mask_key = fold(key, "lora", self.path) if self.dropout else None
        dropped, dropout = dropout_forward(x, p=self.dropout, key=mask_key)
        change, low_rank = low_rank_forward(dropped, self.lora_a.data, self.lora_b.data, scale=self.scale)
        out, _ = residual_forward(out, change)
        return out, LoRALinearCache(base, dropout, low_rank)

    def backward(self, dout: Array, cache: LoRALinearCache, *, dx: Target = None) -> Array:
        """Map dout (..., N) to dx (..., K), which goes where the target ``dx`` says."""
        ddropped, _, _ = low_rank_backward(dout, cache.low_rank, into=(None, self.lora_a.into(), self.lora_b.into()))
        through_base = self.base.backward(dout, cache.base, dx=dx)
        if not isinstance(dx, Skip):
            dropout_backward(ddropped, cache.dropout, into=(Into(through_base, accumulate=True),))
        return through_base

    def forget_input(self, cache: LoRALinearCache) -> LoRALinearCache:
        """The whole cache: the correction needs its input too, after dropout."""
        return cache

    def recall_input(self, kept: LoRALinearCache, x: Array) -> LoRALinearCache:
        """The cache, which ``forget_input`` kept whole."""
        return kept

    def forward_after_gelu(
        self, hidden: Array, *, approximate: str, key: Key | None = None
    ) -> tuple[Array, GeluLoRALinearCache]:
        """Map hidden (..., K) to out (..., N) of gelu(hidden), which is cached; ``key=None`` means evaluation."""
        activation, gelu = gelu_forward(hidden, approximate=approximate)
        out, linear = self.forward(activation, key=key)
        return out, GeluLoRALinearCache(linear, gelu)

    def backward_after_gelu(self, dout: Array, cache: GeluLoRALinearCache) -> Array:
        """Map dout (..., N) of ``forward_after_gelu`` to dhidden (..., K)."""
        return gelu_backward(self.backward(dout, cache.linear), cache.gelu)

    def merge(self) -> Linear:
        """The linear layer, with the correction added to its weight."""
        self.base.weight.data += self.scale * (self.lora_b.data @ self.lora_a.data)
        return self.base


def add_lora(
    model: Module,
    rank: int,
    alpha: float,
    *,
    targets: Sequence[str] = ("*attention*",),
    dropout: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Freeze a model and add adapters to some of its linear layers.

    Call it after the weights are loaded, and before ``pack`` and the optimizer. To train other parameters too, set
    ``parameter.trainable = True`` afterwards.

    Args:
        model: the model.
        rank: rank R of the corrections.
        alpha: their scale is ``alpha / rank``.
        targets: shell patterns of paths of linear layers, such as ``"*.feed_forward.up"``; by default all layers of
            attention, as in the paper.
        dropout: probability of dropping an element of a correction's input, in training.
        seed: of the initial weights.

    Returns:
        The paths of the adapted layers.

    Raises:
        ConfigError: if no layer matches, if one that does shares its weight with another, or if there are adapters.
        MinitrainError: if the model is packed.
    """
    if getattr(model, "flat", None):
        raise MinitrainError("a packed model cannot be adapted: call add_lora(model, ...) before pack(model)")
    if _adapters(model):
        raise ConfigError("add_lora: the model has adapters; call merge_lora(model) first, or add all of them at once")
    layers = {path: layer for path, layer in model.named_modules() if path and isinstance(layer, Linear)}
    chosen = [path for path in layers if any(fnmatchcase(path, target) for target in targets)]
    if not chosen:
        offered = some_of(list(layers), most=5) or "none"
        raise ConfigError(f"add_lora: targets={tuple(targets)} match no linear layer; the model has {offered}")
    owners = list(model._walk(""))
    for path in chosen:
        shared = [owner for owner, p in owners if p is layers[path].weight and owner != f"{path}.weight"]
        if shared:
            raise ConfigError(
                f"add_lora: {path} shares its weight with {shared[0]}, which an adapter would not affect but a merge "
                f"would change; leave it out of targets={tuple(targets)}"
            )
    init_rng = generator(seed)  # raises for a bad seed before anything changes
    for parameter in model.parameters():
        parameter.trainable = False
    for path in chosen:
        _replace(model, path, LoRALinear(layers[path], rank, alpha, init_rng, dropout=dropout, path=path))
    return chosen


def merge_lora(model: Module) -> list[str]:
    """Add the adapters' corrections to the weights, and remove the adapters.

    The outputs stay the same up to rounding, and the layers are the linear layers from before ``add_lora``. The weights
    stay frozen. A packed model is no longer packed, because the flat buffers held the adapters.

    Returns:
        The paths of the layers that had adapters.

    Raises:
        ConfigError: if there are none.
    """
    adapters = _existing_adapters("merge_lora", model)
    for path, adapter in adapters.items():
        _replace(model, path, adapter.merge())
    vars(model).pop("flat", None)
    return list(adapters)


def lora_state_dict(model: Module) -> dict[str, Array]:
    """The weights of the adapters only, by path: all that needs to be saved.

    ``model.load_state_dict(state, strict=False)`` loads them into the same model with the same adapters.

    Raises:
        ConfigError: if there are none.
    """
    adapters = _existing_adapters("lora_state_dict", model)
    return {
        f"{path}.{name}": getattr(adapter, name).data
        for path, adapter in adapters.items()
        for name in ("lora_a", "lora_b")
    }


def has_adapters(model: Module) -> bool:
    """Whether `add_lora` was called and `merge_lora` was not."""
    return bool(_adapters(model))


def _adapters(model: Module) -> dict[str, LoRALinear]:
    return {path: module for path, module in model.named_modules() if isinstance(module, LoRALinear)}


def _existing_adapters(function: str, model: Module) -> dict[str, LoRALinear]:
    adapters = _adapters(model)
    if not adapters:
        raise ConfigError(f"{function}: the model has no adapters; call add_lora(model, rank, alpha) first")
    return adapters


def _replace(model: Module, path: str, layer: Module) -> None:
    """Put ``layer`` at ``path``, which leads through attributes and lists."""
    *parents, last = path.split(".")
    owner: Any = model
    for name in parents:
        owner = owner[int(name)] if isinstance(owner, list) else getattr(owner, name)
    if isinstance(owner, list):
        owner[int(last)] = layer
    else:
        setattr(owner, last, layer)
