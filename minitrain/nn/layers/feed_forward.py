"""The position-wise feed-forward layer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...ops.linear.float8_linear import Float8LinearCache
from ...ops.linear.gelu_linear import GeluLinearCache
from ...random import Key
from ..core.module import Module
from .linear import Linear


class FeedForwardCache(NamedTuple):
    """Saved for the backward."""

    up: Any  # LinearCache, or the part that ``forget_input`` keeps
    down: GeluLinearCache | Float8LinearCache


class FeedForward(Module):
    """``down(gelu(up(x)))``, applied to every position separately.

    Args:
        width: model width C.
        hidden: width of the hidden layer, usually 4 C.
        init_rng: source of the initial weights.
        approximate: form of GELU, ``"none"`` (exact) or ``"tanh"`` (GPT-2).
        bias: whether the two maps have biases.
        out_std: standard deviation of ``down``'s initial weights.
        dtype: dtype of the weights.

    Attributes:
        up: Linear, C -> hidden.
        down: Linear, hidden -> C.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        init_rng: np.random.Generator,
        *,
        approximate: str = "none",
        bias: bool = True,
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        self.up = Linear(width, hidden, init_rng, bias=bias, dtype=dtype)
        self.down = Linear(hidden, width, init_rng, bias=bias, std=out_std, dtype=dtype)
        self.up.feeds_forward = self.down.feeds_forward = True
        self.approximate = approximate

    def forward(self, x: Array, *, key: Key | None = None) -> tuple[Array, FeedForwardCache]:
        """Map x (..., C) to out (..., C). The key is for adapters."""
        hidden, up_cache = self.up.forward(x, key=key)
        out, down_cache = self.down.forward_after_gelu(hidden, approximate=self.approximate, key=key)
        return out, FeedForwardCache(up_cache, down_cache)

    def backward(self, dout: Array, cache: FeedForwardCache) -> Array:
        """Map dout (..., C) to dx (..., C)."""
        dhidden = self.down.backward_after_gelu(dout, cache.down)
        return self.up.backward(dhidden, cache.up)

    def forget_input(self, cache: FeedForwardCache) -> FeedForwardCache:
        """The part of ``cache`` to keep if x will be recomputed; ``recall_input`` restores the rest."""
        return cache._replace(up=self.up.forget_input(cache.up))

    def recall_input(self, kept: FeedForwardCache, x: Array) -> FeedForwardCache:
        """The cache that ``backward`` takes, from what ``forget_input`` kept and x."""
        return kept._replace(up=self.up.recall_input(kept.up, x))
