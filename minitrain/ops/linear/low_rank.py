"""A linear map of low rank R: ``out = scale * x @ a.T @ b.T``.

With ``h = x @ a.T``::

    dh = scale * dout @ b        db = scale * dout.T @ h
    dx = dh @ a                  da = dh.T @ x
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...backend.precision import operand, operand_like
from ..contract.op import op
from ..contract.products import dot_rows, product
from ..contract.sums import flat_rows


class LowRankCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., K) the input
    a: Array  # (R, K)
    b: Array  # (N, R)
    h: Array  # (..., R) x @ a.T
    scale: float


@op("x: half *B K; a: half R K; b: half N R")
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
    factor = operand(x)
    h = operand(product(factor, operand(a).T))  # (..., K) @ (K, R)
    return scale * product(h, operand(b).T), LowRankCache(factor, a, b, h, scale)


@op("cache.x: half *B K; cache.a: half R K; cache.b: half N R; dout: *B N")
def low_rank_backward(dout: Array, cache: LowRankCache) -> tuple[Array, Array, Array]:
    """Gradients of the map: dout (..., N) to dx (..., K), da (R, K), db (N, R)."""
    x, a, b, h, scale = cache
    factor = operand_like(dout, x)
    dh = operand_like(scale * product(factor, operand_like(b, x)), x)  # (..., N) @ (N, R)
    da = dot_rows(flat_rows(dh), flat_rows(x))
    db = scale * dot_rows(flat_rows(factor), flat_rows(h))
    return product(dh, operand_like(a, x)), da, db
