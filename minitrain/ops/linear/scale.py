"""Scaling by a learned temperature: ``out = x * min(exp(log_scale), limit)``.

CLIP scales its logits this way (Radford et al., 2021, arXiv:2103.00020). The factor's logarithm is learned, so the
factor stays positive and a step changes it by a ratio. The limit keeps training stable. Backward, with factor ``s``::

    dx = s * dout
    dlog_scale = sum(dout * x) * s       and 0 above the limit, where the factor is constant
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.op import op
from ..contract.sums import sum_over


class ScaleCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., C) the input
    log_scale: Array  # () the logarithm of the factor
    limit: float


def _check_limit(x: Array, log_scale: Array, *, limit: float = 100.0) -> None:
    if not limit > 0:
        raise ShapeError(f"scale_forward: limit = {limit} must be positive; math.inf means no limit")


@op("x: *N C; log_scale:", check=_check_limit)
def scale_forward(x: Array, log_scale: Array, *, limit: float = 100.0) -> tuple[Array, ScaleCache]:
    """Multiply by ``exp(log_scale)``, at most by the limit.

    Args:
        x: (..., C) input, such as cosine similarities.
        log_scale: () logarithm of the factor, an array without dimensions.
        limit: the largest factor.

    Returns:
        out (..., C) and the cache.
    """
    return x * factor_of(log_scale, limit)[0], ScaleCache(x, log_scale, limit)


@op("cache.x: *N C; dout: *N C")
def scale_backward(dout: Array, cache: ScaleCache) -> tuple[Array, Array]:
    """Gradients of the scaling: dout (..., C) to dx (..., C) and dlog_scale ()."""
    x, log_scale, limit = cache
    factor, moves = factor_of(log_scale, limit)
    dx = dout * factor
    return dx, array_module(x).asarray(sum_over(dx * x) * moves)


def factor_of(log_scale: Array, limit: float) -> tuple[Array, Any]:
    """The factor, and whether it grows with its logarithm; () both."""
    xp = array_module(log_scale)
    moves = log_scale <= math.log(limit)  # at the limit too: a scale that was set to it can decrease again
    return xp.exp(xp.minimum(log_scale, math.log(limit))), moves
