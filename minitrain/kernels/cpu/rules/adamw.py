"""Twin of ``optim.adamw``'s update: each weight, gradient and moment is touched once. Memory is what limits it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.threads import threads_for
from ..common.math import chunk, wide_vectors

f4 = np.float32


def adamw_update(
    weight: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, *,
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, grad_scale: float,
) -> Any:  # fmt: skip
    """See ``optim.adamw.adamw_update``."""
    _update(
        weight.reshape(-1), grad.reshape(-1), exp_avg.reshape(-1), exp_avg_sq.reshape(-1),
        lr / (1 - beta1**step), 1 - lr * weight_decay, beta1, 1 - beta1, beta2, 1 - beta2,
        eps, 1 / math.sqrt(1 - beta2**step), grad_scale, threads_for(weight.size),
    )  # fmt: skip


@kernel("void(f4[::1], f4[::1], f4[::1], f4[::1], f4, f4, f4, f4, f4, f4, f4, f4, f4, i8)")
def _update(weight, grad, exp_avg, exp_avg_sq, rate, keep, beta1, rest1, beta2, rest2, eps, correction, scale, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(weight.size, t, threads)
        w, dw, m, v = weight[lo:hi], grad[lo:hi], exp_avg[lo:hi], exp_avg_sq[lo:hi]
        for i in range(w.size):
            g = dw[i] * scale
            mi = beta1 * m[i] + rest1 * g
            vi = beta2 * v[i] + rest2 * g * g
            m[i], v[i] = mi, vi
            w[i] = w[i] * keep - rate * mi / (np.sqrt(vi) * correction + eps)
