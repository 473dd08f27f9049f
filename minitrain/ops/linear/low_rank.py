"""A linear map of low rank R: ``out = scale * x @ a.T @ b.T``.

With ``h = x @ a.T``::

    dh = scale * dout @ b        db = scale * dout.T @ h
    dx = dh @ a                  da = dh.T @ x
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..contract.op import op
from ..contract.sums import dot_rows, flat_rows


class LowRankCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., K) the input
    a: Array  # (R, K)
    b: Array  # (N, R)
    h: Array  # (..., R) x @ a.T
    scale: float


@op("x: *B K; a: R K; b: N R")
def low_rank_forward(x: Array, a: Array, b: Array, *, scale: float = 1.0) -> tuple[Array, LowRankCache]:
    """Multiply by two thin matrices.

    Args:
        x: (..., K) input.
        a: (R, K) down-projection.
        b: (N, R) up-projection.
        scale: factor of the output.

    Returns:
        out (..., N) and the cache.
    """
    h = x @ a.T  # (..., K) @ (K, R)
    return scale * (h @ b.T), LowRankCache(x, a, b, h, scale)


@op("cache.x: *B K; cache.a: R K; cache.b: N R; dout: *B N")
def low_rank_backward(dout: Array, cache: LowRankCache) -> tuple[Array, Array, Array]:
    """Gradients of the map: dout (..., N) to dx (..., K), da (R, K), db (N, R)."""
    x, a, b, h, scale = cache
    dh = scale * (dout @ b)  # (..., N) @ (N, R)
    da = dot_rows(flat_rows(dh), flat_rows(x))
    db = scale * dot_rows(flat_rows(dout), flat_rows(h))
    return dh @ a, da, db
