"""Shared parts of attention layers: checks of their heads, and the norms and rotations of queries and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module
from ...errors import ConfigError
from ...ops.attention.rope import RopeCache, rope_backward, rope_forward
from ...ops.contract.op import Target
from ...ops.norms.rms_norm import RMSNormCache
from ..core.checks import check_probabilities, check_sizes
from ..layers.rms_norm import RMSNorm


@dataclass(frozen=True)
class Rope:
    """Settings of rotary positions (Su et al., 2021, arXiv:2104.09864); see ``ops.rope``.

    Attributes:
        base: the slowest pair rotates about this many times more slowly than the first.
        scaling: divisor of the positions.
    """

    base: float = 10000.0
    scaling: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: if one of them is not positive.
        """
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigError(f"Rope: {name} = {value} must be positive")


class PreparedCache(NamedTuple):
    """Saved for the backward of ``prepare``."""

    norm: RMSNormCache | None
    rope: RopeCache | None

    def target(self, dx: Target) -> Target:
        """Where attention writes its gradient: to ``dx``, unless ``prepare_backward`` follows."""
        return dx if self.norm is None and self.rope is None else None


def prepare(
    x: Array, norm: RMSNorm | None, rope: Rope | None = None, positions: Array | None = None
) -> tuple[Array, PreparedCache]:
    """Normalise and rotate queries or keys; both steps are optional.

    Args:
        x: (B, T, H, D) queries or keys.
        norm: norm over the head width, or ``None``.
        rope: settings of the rotation, or ``None``.
        positions: (T,) or (B, T) integers of the rotation; 0, 1, ... by default.

    Returns:
        out (B, T, H, D) and the cache; ``x`` itself if there is neither.
    """
    norm_cache = rope_cache = None
    if norm is not None:
        x, norm_cache = norm.forward(x)
    if rope is not None:
        positions = array_module(x).arange(x.shape[1]) if positions is None else positions
        x, rope_cache = rope_forward(x, positions, base=rope.base, scaling=rope.scaling)
    return x, PreparedCache(norm_cache, rope_cache)


def prepare_backward(dout: Array, norm: RMSNorm | None, cache: PreparedCache, dx: Target = None) -> Array:
    """Map dout (B, T, H, D), which attention wrote to ``cache.target(dx)``, to dx (B, T, H, D)."""
    if cache.rope is not None:
        dout, _ = rope_backward(dout, cache.rope, into=(dx if norm is None else None, None))
    if norm is not None and cache.norm is not None:
        dout = norm.backward(dout, cache.norm, dx=dx)
    return dout


def check_heads(layer: str, width: int, heads: int, kv_heads: int, dropout: float) -> int:
    """The head width D.

    Raises:
        ConfigError: if the settings do not fit together.
    """
    check_sizes(layer, width=width, heads=heads, kv_heads=kv_heads)
    if width % heads:
        raise ConfigError(f"{layer}: heads = {heads} must divide width = {width}")
    if heads % kv_heads:
        raise ConfigError(f"{layer}: kv_heads = {kv_heads} must divide heads = {heads}")
    check_probabilities(layer, dropout=dropout)
    return width // heads


def head_norms(qk_norm: bool, head_width: int, dtype: Any = np.float32) -> tuple[RMSNorm | None, RMSNorm | None]:
    """Norms of queries and keys, or ``None`` twice."""
    return (RMSNorm(head_width, dtype=dtype), RMSNorm(head_width, dtype=dtype)) if qk_norm else (None, None)
