"""Group normalisation (Wu, He, 2018, arXiv:1803.08494): each group of a sample's channels gets mean 0 and variance 1.

The C channels of a sample, with all their positions, are split into groups of C / groups. With mean and variance over
one group::

    xhat = (x - mean) * rstd,   rstd = 1 / sqrt(var + eps)
    out  = xhat * weight + bias                                with one weight and bias per channel

The backward is that of layer norm, with means over a group and ``g = dout * weight``::

    dx = rstd * (g - mean(g) - xhat * mean(g * xhat))
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.op import op
from ..contract.sums import row_mean, sum_over


class GroupNormCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (B, C, ...) the input
    mean: Array  # (B, groups, 1)
    rstd: Array  # (B, groups, 1)
    weight: Array  # (C,)
    bias: Array | None  # (C,)


def _check_groups(x: Array, weight: Array, bias: Array | None = None, *, groups: int, eps: float = 1e-5) -> None:
    (C,) = weight.shape
    if x.ndim < 2 or x.shape[1] != C:
        raise ShapeError(f"group_norm_forward: x has shape {x.shape}, expected (B, C, ...) with C = {C} as in weight")
    if groups < 1 or C % groups:
        raise ShapeError(f"group_norm_forward: groups = {groups} must divide the C = {C} channels")


@op("x: *N; weight: C; bias: C", check=_check_groups)
def group_norm_forward(
    x: Array, weight: Array, bias: Array | None, *, groups: int, eps: float = 1e-5
) -> tuple[Array, GroupNormCache]:
    """Normalise groups of channels, then scale and shift each channel.

    Args:
        x: (B, C, ...) input, channels before positions.
        weight: (C,) scale.
        bias: (C,) shift, or ``None`` for none.
        groups: number of groups, a divisor of C.
        eps: added to the variance.

    Returns:
        out (B, C, ...) and the cache.
    """
    rows = grouped(x, groups)
    mean = row_mean(rows, keepdims=True)  # (B, groups, 1)
    centred = rows - mean
    rstd = 1 / array_module(x).sqrt(row_mean(centred * centred, keepdims=True) + eps)
    out = (centred * rstd).reshape(x.shape) * per_channel(weight, x)
    if bias is not None:
        out = out + per_channel(bias, x)
    return out, GroupNormCache(x, mean, rstd, weight, bias)


@op("cache.x: *N; dout: *N")
def group_norm_backward(dout: Array, cache: GroupNormCache) -> tuple[Array, Array, Array | None]:
    """Gradients of group norm.

    Maps dout (B, C, ...) to dx (B, C, ...), dweight (C,), dbias (C,) or ``None`` without a bias.
    """
    x, mean, rstd, weight, bias = cache
    groups = mean.shape[1]
    all_but_channels = (0, *range(2, x.ndim))
    xhat = (grouped(x, groups) - mean) * rstd  # (B, groups, M)
    g = grouped(dout * per_channel(weight, x), groups)
    dx = rstd * (g - row_mean(g, keepdims=True) - xhat * row_mean(g * xhat, keepdims=True))
    dweight = sum_over(dout * xhat.reshape(x.shape), all_but_channels)
    dbias = None if bias is None else sum_over(dout, all_but_channels)
    return dx.reshape(x.shape), dweight, dbias


def grouped(x: Array, groups: int) -> Array:
    """The elements of each group as a row: (B, C, ...) -> (B, groups, M)."""
    B, C, *places = x.shape
    return x.reshape(B, groups, C // groups * math.prod(places))


def per_channel(weight: Array, x: Array) -> Array:
    """(C,) -> (C, 1, ...), which broadcasts with x (B, C, ...)."""
    return weight.reshape(-1, *(1 for _ in x.shape[2:]))
