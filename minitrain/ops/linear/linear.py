"""The affine map ``out = x @ weight.T + bias``: most of a transformer's arithmetic."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..contract.op import op
from ..contract.sums import dot_rows, flat_rows, sum_over


class LinearCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., K) the input
    weight: Array  # (N, K)
    bias: Array | None  # (N,)


@op("x: *B K; weight: N K; bias: N")
def linear_forward(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, LinearCache]:
    """Multiply by a weight matrix and add a bias.

    Args:
        x: (..., K) input.
        weight: (N, K), that is (out_features, in_features).
        bias: (N,), or ``None`` for none.

    Returns:
        out (..., N) and the cache.
    """
    out = x @ weight.T  # (..., K) @ (K, N)
    if bias is not None:
        out = out + bias
    return out, LinearCache(x, weight, bias)


@op("cache.x: *B K; cache.weight: N K; dout: *B N")
def linear_backward(dout: Array, cache: LinearCache) -> tuple[Array, Array, Array | None]:
    """Gradients of the affine map.

    Maps dout (..., N) to dx (..., K), dweight (N, K), dbias (N,) or ``None`` without a bias.
    """
    x, weight, bias = cache
    dx = dout @ weight  # (..., N) @ (N, K)
    rows = flat_rows(dout)  # (..., N) -> (R, N)
    dweight = dot_rows(rows, flat_rows(x))  # (R, N), (R, K)
    dbias = None if bias is None else sum_over(rows, 0)
    return dx, dweight, dbias
