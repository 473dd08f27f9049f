"""The affine map ``out = x @ weight.T + bias``: most of a transformer's arithmetic."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ...backend.precision import operand, operand_like
from ..contract.op import op
from ..contract.products import dot_rows, product
from ..contract.sums import flat_rows, sum_over


class LinearCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., K) the input, as it was multiplied
    weight: Array  # (N, K)
    bias: Array | None  # (N,)


@op("x: half *B K; weight: half N K; bias: N")
def linear_forward(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, LinearCache]:
    """Multiply by a weight matrix and add a bias.

    Args:
        x: (..., K) input.
        weight: (N, K), that is (out_features, in_features).
        bias: (N,), or ``None`` for none.

    Returns:
        out (..., N) and the cache.
    """
    factor = operand(x)
    out = product(factor, operand(weight).T)  # (..., K) @ (K, N)
    if bias is not None:
        out = out + bias
    return out, LinearCache(factor, weight, bias)


@op("cache.x: half *B K; cache.weight: half N K; dout: *B N")
def linear_backward(dout: Array, cache: LinearCache) -> tuple[Array, Array, Array | None]:
    """Gradients of the affine map.

    Maps dout (..., N) to dx (..., K), dweight (N, K), dbias (N,) or ``None`` without a bias.
    """
    x, weight, bias = cache
    factor = operand_like(dout, x)
    dx = product(factor, operand_like(weight, x))  # (..., N) @ (N, K)
    dweight = dot_rows(flat_rows(factor), flat_rows(x))  # (R, N), (R, K)
    dbias = None if bias is None else sum_over(flat_rows(dout), 0)  # (..., N) -> (R, N) -> (N,)
    return dx, dweight, dbias
