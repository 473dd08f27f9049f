"""Softmax over the last axis. Backward: ``dx = y * (dout - sum(dout * y))``, the Jacobian ``diag(y) - y y^T``."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.log_sum_exp import row_maximum
from ..contract.op import op


class SoftmaxCache(NamedTuple):
    """Saved for the backward."""

    out: Array  # (..., C) the probabilities


@op("x: *N C")
def softmax_forward(x: Array) -> tuple[Array, SoftmaxCache]:
    """Probabilities proportional to ``exp(x)`` along the last axis.

    The row's maximum is subtracted first, so nothing overflows. A row with only ``-inf`` gives NaN: it has no softmax.

    Args:
        x: (..., C) scores.

    Returns:
        out (..., C), rows summing to 1, and the cache.
    """
    e = array_module(x).exp(x - row_maximum(x))
    out = e / e.sum(axis=-1, keepdims=True)
    return out, SoftmaxCache(out)


@op("cache.out: *N C; dout: *N C")
def softmax_backward(dout: Array, cache: SoftmaxCache) -> Array:
    """Gradient of softmax: dout (..., C) to dx (..., C)."""
    y = cache.out
    return y * (dout - (dout * y).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]
