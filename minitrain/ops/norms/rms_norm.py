"""Root-mean-square norm (Zhang, Sennrich, 2019, arXiv:1910.07467).

Forward, over the last axis::

    xhat = x * rstd,   rstd = 1 / sqrt(mean(x^2) + eps)
    out  = xhat * weight

Backward, with ``g = dout * weight`` and means over the last axis::

    dx = rstd * (g - xhat * mean(g * xhat))

Scaling x does not change ``out``: the subtracted term removes that direction from the gradient. Unlike layer norm, it
keeps the mean of x.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.op import op
from ..contract.sums import row_mean, sum_over


class RMSNormCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., C) the input
    rstd: Array  # (...,) 1 / sqrt(mean(x^2) + eps)
    weight: Array  # (C,)


@op("x: *N C; weight: C")
def rms_norm_forward(x: Array, weight: Array, *, eps: float = 1e-5) -> tuple[Array, RMSNormCache]:
    """Scale the last axis to a mean square of one, then by a weight.

    Args:
        x: (..., C) input.
        weight: (C,) scale.
        eps: added to the mean square.

    Returns:
        out (..., C) and the cache.
    """
    rstd = 1 / array_module(x).sqrt(row_mean(x * x) + eps)  # (...,)
    return x * rstd[..., None] * weight, RMSNormCache(x, rstd, weight)


@op("cache.x: *N C; dout: *N C")
def rms_norm_backward(dout: Array, cache: RMSNormCache) -> tuple[Array, Array]:
    """Gradients of the RMS norm: dout (..., C) to dx (..., C) and dweight (C,)."""
    x, rstd, weight = cache
    xhat = x * rstd[..., None]  # (..., C)
    g = dout * weight
    dx = rstd[..., None] * (g - xhat * row_mean(g * xhat, keepdims=True))
    dweight = sum_over(dout * xhat, tuple(range(x.ndim - 1)))  # over all axes but the last
    return dx, dweight
