"""CUDA twin of ``optim.rules.muon``'s update: each element-wise part is a kernel, and nothing waits for the device."""

from __future__ import annotations

from typing import Any

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ..clip import squares
from ..common.scale import scale_arguments
from ..common.sizes import THREADS, blocks_for

_SOURCE = Source("rules/muon.cu")
_DIRECTION = _SOURCE.kernel(
    "muon_direction",
    "f4* grad, f4* buffer, f4* out, i8 n, f4 momentum, f4 grad_factor, f4 old, f4 new_part, f4* on_device?",
)
_NORMALISE = _SOURCE.kernel("muon_normalise", "f4* x, f8* squares, i8 n, f4 eps")
_STEP = _SOURCE.kernel("muon_step", "f4* weight, f4* step, i8 n, f4 decay, f4 rate, f4* on_device?, f8* late?")


def muon_update(
    weight: Array, grad: Array, buffer: Array, *,
    lr: float, momentum: float, nesterov: bool, ns_steps: int, coefficients: tuple[float, float, float],
    eps: float, scale: float, weight_decay: float, grad_scale: Any, late: Array | None = None,
) -> Any:  # fmt: skip
    """See ``optim.rules.muon.muon_update``."""
    n = weight.size
    if n == 0:
        return NotImplemented
    xp = array_module(weight)
    x, blocks = xp.empty(weight.shape, weight.dtype), blocks_for(n)
    factor, on_device = scale_arguments(grad_scale)
    old, new = (momentum, 1.0) if nesterov else (1.0, 0.0)
    _DIRECTION(blocks, THREADS, grad, buffer, x, n, momentum, (1 - momentum) * factor, old, new, on_device)
    _NORMALISE(blocks, THREADS, x, squares(x), n, eps)
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x  # (R, C) -> (C, R) if that makes the products smaller
    for _ in range(ns_steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    step = xp.ascontiguousarray(x.T if tall else x)
    _STEP(blocks, THREADS, weight, step, n, 1 - lr * weight_decay, lr * scale, on_device, late)
    return None
