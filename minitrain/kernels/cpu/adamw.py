"""Twin of ``optim.adamw``'s update: each weight, gradient and moment is touched once. Memory is what limits it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from ...backend.arrays import Array
from ...backend.jit import kernel
from ...backend.threads import thread_count
from ._math import chunk

f4 = np.float32


def adamw_update(
    weight: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, *,
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, grad_scale: float,
) -> Any:  # fmt: skip
    """See ``optim.adamw.adamw_update``."""
    _update(
        weight.reshape(-1), grad.reshape(-1), exp_avg.reshape(-1), exp_avg_sq.reshape(-1),
        lr / (1 - beta1**step), 1 - lr * weight_decay, beta1, 1 - beta1, beta2, 1 - beta2,
        eps, 1 / math.sqrt(1 - beta2**step), grad_scale, thread_count(),
    )  # fmt: skip


@kernel("void(f4[::1], f4[::1], f4[::1], f4[::1], f4, f4, f4, f4, f4, f4, f4, f4, f4, i8)")
def _update(weight, grad, exp_avg, exp_avg_sq, rate, keep, beta1, rest1, beta2, rest2, eps, correction, scale, threads):  # type: ignore[no-untyped-def]
    for t in prange(threads):
        lo, hi = chunk(weight.size, t, threads)
        for i in range(lo, hi):
            g = grad[i] * scale
            m = beta1 * exp_avg[i] + rest1 * g
            v = beta2 * exp_avg_sq[i] + rest2 * g * g
            exp_avg[i] = m
            exp_avg_sq[i] = v
            weight[i] = weight[i] * keep - rate * m / (np.sqrt(v) * correction + eps)
