"""Encodings of token positions: vectors added to the input, and ALiBi's slopes for attention.

Rotary positions rotate queries and keys instead: ``MultiHeadAttention(..., rope=Rope())``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module
from ...errors import ConfigError, ShapeError, TokenError
from ...ops.linear.embedding import EmbeddingCache, embedding_backward, embedding_forward
from ...ops.norms.residual import ResidualCache, residual_backward, residual_forward
from ..core.checks import check_sizes
from ..core.init import normal
from ..core.module import Module
from ..core.parameter import Parameter, into


class LearnedPositionsCache(NamedTuple):
    """Saved for the backward."""

    rows: EmbeddingCache
    added: ResidualCache


class LearnedPositions(Module):
    """Add a trained vector for each position (Gehring et al., 2017, arXiv:1705.03122), as GPT-2 does.

    Args:
        length: the longest sequence, the number of rows.
        width: width C of a row.
        init_rng: source of the initial weights.
        std: their standard deviation.
        dtype: their dtype.

    Attributes:
        weight: (length, C).

    Raises:
        ConfigError: if a size is not a whole number of at least 1.
    """

    def __init__(
        self, length: int, width: int, init_rng: np.random.Generator, *, std: float = 0.02, dtype: Any = np.float32
    ) -> None:
        check_sizes("LearnedPositions", length=length, width=width)
        self.weight = Parameter(normal(init_rng, (length, width), std, dtype))

    def forward(self, x: Array, *, positions: Array | None = None) -> tuple[Array, LearnedPositionsCache]:
        """Add the vectors of the positions.

        Args:
            x: (B, T, C).
            positions: (T,) or (B, T) integers in [0, length); 0, 1, ... by default.

        Returns:
            out (B, T, C) and the cache.

        Raises:
            ShapeError: if a position is outside the table, or shapes do not fit.
        """
        places = _places("LearnedPositions", x, self.weight.data.shape[1], positions)
        try:
            rows, rows_cache = embedding_forward(places, self.weight.data)
        except TokenError:
            raise ShapeError(
                f"LearnedPositions: positions run from {int(places.min())} to {int(places.max())}, but the table has "
                f"length = {len(self.weight.data)}; shorten the sequences or build the layer with a greater length"
            ) from None
        out, added = residual_forward(x, rows)
        return out, LearnedPositionsCache(rows_cache, added)

    def backward(self, dout: Array, cache: LearnedPositionsCache) -> Array:
        """Map dout (B, T, C) to dx (B, T, C)."""
        dx, drows = residual_backward(dout, cache.added)
        embedding_backward(drows, cache.rows, into=(None, into(self.weight)))
        return dx


class SinusoidalPositions(Module):
    """Add a fixed vector for each position, made of waves of many lengths (Vaswani et al., 2017, arXiv:1706.03762).

    Elements 2 i and 2 i + 1 at position p are the sine and the cosine of ``p * base^(-2 i / C)``. There are no
    parameters, and a sequence may have any length.

    Args:
        width: width C of a vector, even.
        base: the longest wave is about 2 pi times this long.

    Raises:
        ConfigError: if the width is odd, or the base is not positive.
    """

    def __init__(self, width: int, *, base: float = 10000.0) -> None:
        check_sizes("SinusoidalPositions", width=width)
        if width % 2:
            raise ConfigError(f"SinusoidalPositions: width = {width} must be even: each wave has a sine and a cosine")
        if not base > 0:
            raise ConfigError(f"SinusoidalPositions: base = {base} must be positive")
        self.width, self.base = width, base

    def forward(self, x: Array, *, positions: Array | None = None) -> tuple[Array, None]:
        """Add the vectors of the positions.

        Args:
            x: (B, T, C).
            positions: (T,) or (B, T) integers; 0, 1, ... by default.

        Returns:
            out (B, T, C) and no cache: the backward needs none.

        Raises:
            ShapeError: if ``x`` or the positions have another shape.
        """
        xp, places = array_module(x), _places("SinusoidalPositions", x, self.width, positions)
        # In float64: in float32, neighbours at far positions would get equal angles.
        angle = places[..., None] * self.base ** (-xp.arange(0, self.width, 2) / self.width)  # (B, T, C/2)
        waves = xp.stack([xp.sin(angle), xp.cos(angle)], axis=-1)  # (B, T, C/2, 2)
        return x + waves.reshape(x.shape).astype(x.dtype), None  # -> (B, T, C)

    def backward(self, dout: Array, cache: None) -> Array:
        """Map dout (B, T, C) to dx (B, T, C), which is equal to it."""
        return dout


def alibi_slopes(heads: int) -> Array:
    """The slopes of ALiBi (Press et al., 2022, arXiv:2108.12409), for ``attention_forward(..., alibi_slopes=...)``.

    For a power of two they are ``2^(-8 / heads), 2^(-16 / heads), ..., 2^(-8)``. For another number, the slopes of the
    next smaller power of two n come first, followed by every other slope of 2 n; these lie between the first ones.

    Args:
        heads: number H of heads.

    Returns:
        (H,) float64, on the CPU.

    Raises:
        ConfigError: if there is no head.
    """
    if heads < 1:
        raise ConfigError(f"alibi_slopes: heads = {heads} must be at least 1")
    n = 1 << (heads.bit_length() - 1)  # the largest power of two up to ``heads``
    first = 2.0 ** (-8 / n * np.arange(1, n + 1))
    between = 2.0 ** (-4 / n * np.arange(1, 2 * n + 1, 2))
    return np.concatenate([first, between[: heads - n]])


def _places(layer: str, x: Array, width: int, positions: Array | None) -> Array:
    """The positions of x (B, T, C), one for each vector: (B, T)."""
    if x.ndim != 3 or x.shape[-1] != width:
        raise ShapeError(f"{layer}: x has shape {x.shape}, expected (B, T, C) with C = width = {width}")
    xp, (B, T) = array_module(x), x.shape[:2]
    if positions is None:
        positions = xp.arange(T)
    elif positions.shape not in ((T,), (B, T)) or positions.dtype.kind not in "iu":
        raise ShapeError(
            f"{layer}: positions must be {(T,)} or {(B, T)} integers as in x, got {positions.dtype} {positions.shape}"
        )
    return xp.broadcast_to(positions, (B, T))  # type: ignore[no-any-return]
