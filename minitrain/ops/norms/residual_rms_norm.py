"""Fusion of ``residual`` and ``rms_norm``: add a branch to the stream, and normalise the sum for the next layer.

This is Llama's counterpart of ``residual_layer_norm``. It has two outputs: the sum, which is the stream from here on,
and its normalised copy. The kernel reads each row once.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..contract.op import op
from .rms_norm import RMSNormCache, rms_norm_backward, rms_norm_forward


class ResidualRMSNormCache(NamedTuple):
    """Saved for the backward."""

    total: Array  # (..., C) x + branch
    rstd: Array  # (...,)
    weight: Array  # (C,)


@op("x: *N C; branch: *N C; weight: C")
def residual_rms_norm_forward(
    x: Array, branch: Array, weight: Array, *, eps: float = 1e-5
) -> tuple[Array, Array, ResidualRMSNormCache]:
    """``total = x + branch``, ``out = rms_norm(total)``.

    Args:
        x: (..., C) the stream.
        branch: (..., C) output of a layer.
        weight: (C,) scale of the norm.
        eps: added to the mean square.

    Returns:
        total (..., C), out (..., C) and the cache.
    """
    total = x + branch
    out, norm = rms_norm_forward.reference(total, weight, eps=eps)
    return total, out, ResidualRMSNormCache(*norm)


@op("cache.total: *N C; dtotal: *N C; dout: *N C")
def residual_rms_norm_backward(
    dtotal: Array | None, dout: Array | None, cache: ResidualRMSNormCache
) -> tuple[Array, Array, Array]:
    """Gradients of the fusion. A cotangent that is ``None`` counts as zero.

    Args:
        dtotal: (..., C) gradient of the stream, from later layers.
        dout: (..., C) gradient of the normalised copy.
        cache: from the forward.

    Returns:
        dx (..., C) and dbranch (..., C), which are equal; dweight (C,).
    """
    if dout is None:
        dout = cache.total * 0
    dx, dweight = rms_norm_backward.reference(dout, RMSNormCache(*cache))
    if dtotal is not None:
        dx = dx + dtotal
    return dx, dx, dweight
