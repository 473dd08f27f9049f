"""Twin of ``optim.rules.adam``. It touches each weight, gradient and moment once: memory bandwidth is the limit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.threads import threads_for
from ..common.math import aligned_chunk, wide_vectors

f4 = np.float32


def adam_update(
    weight: Array, grad: Array, exp_avg: Array, exp_avg_sq: Array, *,
    step: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, grad_scale: float,
    decoupled: bool = False, mix: tuple[float, float] | None = None,
) -> Any:  # fmt: skip
    """See ``optim.rules.adam.adam_update``."""
    rate, grad_rate = (lr / (1 - beta1**step), 0.0) if mix is None else (lr * mix[0], lr * mix[1])
    decay, penalty = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    _update(
        weight.reshape(-1), grad.reshape(-1), exp_avg.reshape(-1), exp_avg_sq.reshape(-1),
        rate, grad_rate, decay, penalty, 1 - beta1, 1 - beta2, eps,
        1 / math.sqrt(1 - beta2**step), grad_scale, penalty != 0 or grad_rate != 0, threads_for(weight.size),
    )  # fmt: skip


@kernel("void(f4[::1], f4[::1], f4[::1], f4[::1], f4, f4, f4, f4, f4, f4, f4, f4, f4, b1, i8)")
def _update(
    weight, grad, exp_avg, exp_avg_sq, rate, grad_rate, decay, penalty, one_minus_beta1, one_minus_beta2, eps,
    correction, scale, extras, threads,
):  # fmt: skip
    for t in prange(threads):
        wide_vectors()
        lo, hi = aligned_chunk(weight.size, t, threads)
        w, dw, m, v = weight[lo:hi], grad[lo:hi], exp_avg[lo:hi], exp_avg_sq[lo:hi]
        for i in range(w.size):
            g = dw[i] * scale
            if extras:  # constant in the loop, so LLVM compiles two loops
                g += penalty * w[i]
            # Not beta * m + (1 - beta) * g: rounded to float32, the two factors do not add up to 1.
            mi = m[i] + one_minus_beta1 * (g - m[i])
            vi = v[i] + one_minus_beta2 * (g * g - v[i])
            m[i], v[i] = mi, vi
            step = rate * mi
            if extras:
                step += grad_rate * g
            w[i] = w[i] * decay - step / (np.sqrt(vi) * correction + eps)
