"""Twins of ``ops.residual_layer_norm``: the sum and its norm in one pass over each row."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array
from ....backend.pool import empty
from ....backend.targets import Target, deliver
from .layer_norm import run_backward, run_forward


def residual_layer_norm_forward(
    x: Array, branch: Array, weight: Array, bias: Array | None, *, eps: float = 1e-5
) -> Any:
    """See ``ops.residual_layer_norm.residual_layer_norm_forward``."""
    if x.size == 0:
        return NotImplemented
    total, out = empty(x.shape), empty(x.shape)
    mean, rstd = empty(x.shape[:-1]), empty(x.shape[:-1])
    run_forward(x, branch, total, weight, bias, eps, out, mean, rstd)
    return total, out, (total, mean, rstd, weight, bias)


def residual_layer_norm_backward(
    dtotal: Array | None, dout: Array | None, cache: Any, *, into: tuple[Target, Target, Target, Target]
) -> Any:
    """See ``ops.residual_layer_norm.residual_layer_norm_backward``."""
    if dout is None:
        return NotImplemented
    grads = run_backward(dtotal, dout, cache, (None, *into[2:]))  # dx and dbranch are equal: computed once
    if grads is NotImplemented:
        return NotImplemented
    dx, dweight, dbias = grads
    return deliver(dx, into[0]), deliver(dx, into[1]), dweight, dbias
