"""CUDA twins of ``ops.norms.residual_layer_norm``: the sum and its norm in one pass over each row."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.targets import Target, deliver
from .layer_norm import run_backward, run_forward


def residual_layer_norm_forward(
    x: Array, branch: Array, weight: Array, bias: Array | None, *, eps: float = 1e-5
) -> Any:
    """See ``ops.norms.residual_layer_norm.residual_layer_norm_forward``."""
    found = run_forward(x, branch, weight, bias, eps)
    if found is NotImplemented:
        return NotImplemented
    total, out, mean, rstd = found
    return total, out, (total, mean, rstd, weight, bias)


def residual_layer_norm_backward(
    dtotal: Array | None, dout: Array | None, cache: Any, *, into: tuple[Target, Target, Target, Target]
) -> Any:
    """See ``ops.norms.residual_layer_norm.residual_layer_norm_backward``."""
    if dout is None:
        return NotImplemented
    grads = run_backward(dtotal, dout, cache, (None, *into[2:]))  # dx and dbranch are equal: computed once
    if grads is NotImplemented:
        return NotImplemented
    dx, dweight, dbias = grads
    return deliver(dx, into[0]), deliver(dx, into[1]), dweight, dbias
