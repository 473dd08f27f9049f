"""The position-wise feed-forward layer with a gate, as in Llama (Shazeer, 2020, arXiv:2002.05202)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError
from ...ops.activations.geglu import GegluCache, geglu_backward, geglu_forward
from ...ops.activations.swiglu import SwigluCache, swiglu_backward, swiglu_forward
from ...ops.contract.op import Into
from ...random import Key
from ..core.module import Module
from .linear import Linear

ACTIVATIONS = ("swiglu", "geglu")


class GatedFeedForwardCache(NamedTuple):
    """Saved for the backward."""

    gate: Any  # LinearCache, or the part that ``forget_input`` keeps
    up: Any  # likewise
    gated: SwigluCache | GegluCache
    down: Any  # what ``down`` keeps without its input


class GatedFeedForward(Module):
    """``down(activation(gate(x)) * up(x))``, applied to every position separately.

    It has three matrices instead of two, so a ``hidden`` of 8/3 C has as many weights as an ungated layer of 4 C.

    Args:
        width: model width C.
        hidden: width of the hidden layer.
        init_rng: source of the initial weights.
        activation: ``"swiglu"`` (SiLU) or ``"geglu"`` (exact GELU).
        bias: whether the three maps have biases.
        out_std: standard deviation of ``down``'s initial weights.
        dtype: dtype of the weights.

    Attributes:
        gate: Linear, C -> hidden.
        up: Linear, C -> hidden.
        down: Linear, hidden -> C.

    Raises:
        ConfigError: if there is no such activation.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        init_rng: np.random.Generator,
        *,
        activation: str = "swiglu",
        bias: bool = False,
        out_std: float = 0.02,
        dtype: Any = np.float32,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ConfigError(f"GatedFeedForward: activation={activation!r}; use one of {', '.join(ACTIVATIONS)}")
        self.gate = Linear(width, hidden, init_rng, bias=bias, dtype=dtype)
        self.up = Linear(width, hidden, init_rng, bias=bias, dtype=dtype)
        self.down = Linear(hidden, width, init_rng, bias=bias, std=out_std, dtype=dtype)
        self.activation = activation
        self.gate.feeds_forward = self.up.feeds_forward = self.down.feeds_forward = True

    def forward(self, x: Array, *, key: Key | None = None) -> tuple[Array, GatedFeedForwardCache]:
        """Map x (..., C) to out (..., C). The key is for adapters."""
        gate, gate_cache = self.gate.forward(x, key=key)
        up, up_cache = self.up.forward(x, key=key)
        hidden, gated = self.activate(gate, up)
        out, down_cache = self.down.forward(hidden, key=key)
        return out, GatedFeedForwardCache(gate_cache, up_cache, gated, self.down.forget_input(down_cache))

    def backward(self, dout: Array, cache: GatedFeedForwardCache) -> Array:
        """Map dout (..., C) to dx (..., C)."""
        dhidden = self._backward_down(dout, cache)
        if isinstance(cache.gated, SwigluCache):
            dgate, dup = swiglu_backward(dhidden, cache.gated)
        else:
            dgate, dup = geglu_backward(dhidden, cache.gated)
        dx = self.up.backward(dup, cache.up)
        return self.gate.backward(dgate, cache.gate, dx=Into(dx, accumulate=True))

    def forget_input(self, cache: GatedFeedForwardCache) -> GatedFeedForwardCache:
        """The part of ``cache`` to keep if x will be recomputed; ``recall_input`` restores the rest."""
        return cache._replace(gate=self.gate.forget_input(cache.gate), up=self.up.forget_input(cache.up))

    def recall_input(self, kept: GatedFeedForwardCache, x: Array) -> GatedFeedForwardCache:
        """The cache that ``backward`` takes, from what ``forget_input`` kept and x."""
        return kept._replace(gate=self.gate.recall_input(kept.gate, x), up=self.up.recall_input(kept.up, x))

    def activate(self, gate: Array, up: Array) -> tuple[Array, SwigluCache | GegluCache]:
        """The input of ``down``, (..., hidden), and the cache."""
        return swiglu_forward(gate, up) if self.activation == "swiglu" else geglu_forward(gate, up, approximate="none")

    def _backward_down(self, dout: Array, cache: GatedFeedForwardCache) -> Array:
        """Map dout (..., C) to dhidden (..., hidden); the input of ``down`` is recomputed."""
        hidden, _ = self.activate(cache.gated.gate, cache.gated.up)
        return self.down.backward(dout, self.down.recall_input(cache.down, hidden))
