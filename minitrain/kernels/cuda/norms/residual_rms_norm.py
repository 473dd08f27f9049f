"""CUDA twins of ``ops.norms.residual_rms_norm``: the sum and its norm in one pass over each row."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.targets import Target, deliver
from .rms_norm import run_backward, run_forward


def residual_rms_norm_forward(x: Array, branch: Array, weight: Array, *, eps: float = 1e-5) -> Any:
    """See ``ops.norms.residual_rms_norm.residual_rms_norm_forward``."""
    found = run_forward(x, branch, weight, eps)
    if found is NotImplemented:
        return NotImplemented
    total, out, rstd = found
    return total, out, (total, rstd, weight)


def residual_rms_norm_backward(
    dtotal: Array | None, dout: Array | None, cache: Any, *, into: tuple[Target, Target, Target]
) -> Any:
    """See ``ops.norms.residual_rms_norm.residual_rms_norm_backward``."""
    if dout is None:
        return NotImplemented
    grads = run_backward(dtotal, dout, cache, (None, into[2]))  # dx and dbranch are equal: computed once
    if grads is NotImplemented:
        return NotImplemented
    dx, dweight = grads
    return deliver(dx, into[0]), deliver(dx, into[1]), dweight
