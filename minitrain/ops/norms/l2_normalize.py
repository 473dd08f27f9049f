"""Scaling to length one: ``out = x / max(|x|, eps)`` with the Euclidean length over the last axis.

Backward, with ``n = max(|x|, eps)``: ``dx = (dout - out * sum(dout * out)) / n``. Scaling x does not change ``out``,
and the subtracted term removes that direction from the gradient. Rows shorter than ``eps`` are divided by the constant
``eps``, so they lack that term.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.op import op


class L2NormalizeCache(NamedTuple):
    """Saved for the backward."""

    out: Array  # (..., C) the output
    length: Array  # (..., 1)
    eps: float


@op("x: *N C")
def l2_normalize_forward(x: Array, *, eps: float = 1e-12) -> tuple[Array, L2NormalizeCache]:
    """Divide each row by its Euclidean length; a row of zeros stays zero.

    Args:
        x: (..., C) input.
        eps: smallest divisor.

    Returns:
        out (..., C) and the cache.
    """
    xp = array_module(x)
    length = xp.sqrt((x * x).sum(axis=-1, keepdims=True))  # (..., 1)
    out = x / xp.maximum(length, eps)
    return out, L2NormalizeCache(out, length, eps)


@op("cache.out: *N C; dout: *N C")
def l2_normalize_backward(dout: Array, cache: L2NormalizeCache) -> Array:
    """Gradient of the normalisation: dout (..., C) to dx (..., C)."""
    out, length, eps = cache
    along = (dout * out).sum(axis=-1, keepdims=True) * (length > eps)  # (..., 1)
    return (dout - out * along) / array_module(dout).maximum(length, eps)  # type: ignore[no-any-return]
