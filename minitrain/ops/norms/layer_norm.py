"""Layer normalisation (Ba, Kiros, Hinton, 2016, arXiv:1607.06450).

Forward, over the last axis::

    xhat = (x - mean(x)) * rstd,   rstd = 1 / sqrt(var(x) + eps)
    out  = xhat * weight + bias

Backward, with ``g = dout * weight`` and means over the last axis::

    dx = rstd * (g - mean(g) - xhat * mean(g * xhat))

Shifting x by a constant or scaling it does not change ``out``: the two subtracted terms remove exactly these two
directions from the gradient.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.op import op
from ..contract.sums import row_mean, sum_over


class LayerNormCache(NamedTuple):
    """Saved for the backward."""

    x: Array  # (..., C) the input
    mean: Array  # (...,)
    rstd: Array  # (...,)   1 / sqrt(var + eps)
    weight: Array  # (C,)
    bias: Array | None  # (C,)


@op("x: *N C; weight: C; bias: C")
def layer_norm_forward(
    x: Array, weight: Array, bias: Array | None, *, eps: float = 1e-5
) -> tuple[Array, LayerNormCache]:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift.

    Args:
        x: (..., C) input.
        weight: (C,) scale.
        bias: (C,) shift, or ``None`` for none.
        eps: added to the variance.

    Returns:
        out (..., C) and the cache.
    """
    xp = array_module(x)
    mean = row_mean(x)  # (...,)
    centred = x - mean[..., None]
    rstd = 1 / xp.sqrt(row_mean(centred * centred) + eps)  # (...,)
    out = centred * rstd[..., None] * weight
    if bias is not None:
        out = out + bias
    return out, LayerNormCache(x, mean, rstd, weight, bias)


@op("cache.x: *N C; dout: *N C")
def layer_norm_backward(dout: Array, cache: LayerNormCache) -> tuple[Array, Array, Array | None]:
    """Gradients of layer norm: dout (..., C) to dx (..., C), dweight (C,), dbias (C,) or ``None`` without a bias."""
    x, mean, rstd, weight, bias = cache
    rows = tuple(range(x.ndim - 1))  # all axes but the last
    xhat = (x - mean[..., None]) * rstd[..., None]  # (..., C)
    g = dout * weight
    dx = rstd[..., None] * (g - row_mean(g, keepdims=True) - xhat * row_mean(g * xhat, keepdims=True))
    dweight = sum_over(dout * xhat, rows)
    dbias = None if bias is None else sum_over(dout, rows)
    return dx, dweight, dbias
