"""Fusion of ``residual`` and ``layer_norm``: add a branch to the stream, and normalise the sum for the next layer.

It has two outputs: the sum, which is the stream from here on, and its normalised copy. The kernel reads each row once.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..contract.op import op
from .layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward


class ResidualLayerNormCache(NamedTuple):
    """Saved for the backward."""

    total: Array  # (..., C) x + branch
    mean: Array  # (...,)
    rstd: Array  # (...,)
    weight: Array  # (C,)
    bias: Array | None  # (C,)


@op("x: *N C; branch: *N C; weight: C; bias: C")
def residual_layer_norm_forward(
    x: Array, branch: Array, weight: Array, bias: Array | None, *, eps: float = 1e-5
) -> tuple[Array, Array, ResidualLayerNormCache]:
    """``total = x + branch``, ``out = layer_norm(total)``.

    Args:
        x: (..., C) the stream.
        branch: (..., C) output of a layer.
        weight: (C,) scale of the norm.
        bias: (C,) shift of the norm, or ``None``.
        eps: added to the variance.

    Returns:
        total (..., C), out (..., C) and the cache.
    """
    total = x + branch
    out, norm = layer_norm_forward.reference(total, weight, bias, eps=eps)
    return total, out, ResidualLayerNormCache(*norm)


@op("cache.total: *N C; dtotal: *N C; dout: *N C")
def residual_layer_norm_backward(
    dtotal: Array | None, dout: Array | None, cache: ResidualLayerNormCache
) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of the fusion. A cotangent that is ``None`` counts as zero.

    Args:
        dtotal: (..., C) gradient of the stream, from later layers.
        dout: (..., C) gradient of the normalised copy.
        cache: from the forward.

    Returns:
        dx (..., C) and dbranch (..., C), which are equal; dweight (C,); dbias (C,) or ``None``.
    """
    if dout is None:
        dout = cache.total * 0
    dx, dweight, dbias = layer_norm_backward.reference(dout, LayerNormCache(*cache))
    if dtotal is not None:
        dx = dx + dtotal
    return dx, dx, dweight, dbias
