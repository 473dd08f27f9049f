"""Twin of ``optim.muon``'s update: the products of Newton-Schulz run on the kernels' threads.

NumPy's would run on the threads of its own BLAS, which keep spinning on the cores that the next kernel needs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.threads import GRAIN, threads_for
from ..common.gemm import available, block, gemm_nn, gemm_nt, gemm_tn
from ..common.math import aligned_chunk, chunk
from ..common.sums import group_count

f4 = np.float32


def muon_update(
    weight: Array, grad: Array, buffer: Array, *,
    lr: float, momentum: float, nesterov: bool, ns_steps: int, coefficients: tuple[float, float, float],
    eps: float, scale: float, weight_decay: float, grad_scale: float,
) -> Any:  # fmt: skip
    """See ``optim.muon.muon_update``."""
    if not available or weight.size == 0:
        return NotImplemented
    side = min(weight.shape)
    threads = threads_for(weight.size * side / 32)  # the size of each product
    x, spare, gram, quintic = empty(weight.shape), empty(weight.shape), empty((side, side)), empty((side, side))
    squares = np.empty(group_count(weight.size, GRAIN))  # sums by groups: the number of threads changes no bit
    old, new = (momentum, 1.0) if nesterov else (1.0, 0.0)
    _direction(
        grad.reshape(-1), buffer.reshape(-1), x.reshape(-1),
        momentum, (1 - momentum) * grad_scale, old, new, squares, threads,
    )  # fmt: skip
    _newton_schulz(x, 1 / max(math.sqrt(squares.sum()), eps), spare, gram, quintic, ns_steps, *coefficients, threads)
    step = spare if ns_steps % 2 else x
    _step(weight.reshape(-1), step.reshape(-1), 1 - lr * weight_decay, lr * scale, threads)
    return None


@kernel("void(f4[::1], f4[::1], f4[::1], f4, f4, f4, f4, f8[::1], i8)")
def _direction(grad, buffer, out, momentum, grad_factor, old, new, squares, threads):
    for t in prange(threads):
        begin, end = chunk(squares.size, t, threads)
        for group in range(begin, end):
            lo, hi = chunk(grad.size, group, squares.size)
            g, b, u = grad[lo:hi], buffer[lo:hi], out[lo:hi]
            s = 0.0
            for i in range(g.size):
                fresh = grad_factor * g[i]
                bi = momentum * b[i] + fresh
                ui = old * bi + new * fresh
                b[i], u[i] = bi, ui
                s += np.float64(ui) * np.float64(ui)
            squares[group] = s


@kernel("void(f4[:, ::1], f4, f4[:, ::1], f4[:, ::1], f4[:, ::1], i8, f4, f4, f4, i8)")
def _newton_schulz(x, scale, spare, gram, quintic, steps, a, b, c, threads):
    R, C = x.shape
    S = gram.shape[0]
    for t in prange(threads):
        lo, hi = chunk(R, t, threads)
        for r in range(lo, hi):
            for i in range(C):
                x[r, i] *= scale
    for _ in range(steps):
        for t in prange(threads):
            r0, r1, _, _ = block(S, S, t, threads)
            if r1 > r0 and R > C:  # x^T x
                gemm_tn(r1 - r0, S, R, 1.0, x[:, r0:], C, x, C, 0.0, gram[r0:], S)
            elif r1 > r0:  # x x^T
                gemm_nt(r1 - r0, S, C, 1.0, x[r0:], C, x, C, 0.0, gram[r0:], S)
        for t in prange(threads):
            r0, r1, _, _ = block(S, S, t, threads)
            if r1 > r0:  # a I + b gram + c gram^2
                quintic[r0:r1] = gram[r0:r1]
                gemm_nn(r1 - r0, S, S, c, gram[r0:], S, gram, S, b, quintic[r0:], S)
                for r in range(r0, r1):
                    quintic[r, r] += a
        for t in prange(threads):
            r0, r1, c0, c1 = block(R, C, t, threads)
            if r1 > r0 and c1 > c0 and R > C:
                gemm_nn(r1 - r0, S, S, 1.0, x[r0:], C, quintic, S, 0.0, spare[r0:], C)
            elif r1 > r0 and c1 > c0:
                gemm_nn(r1 - r0, c1 - c0, S, 1.0, quintic[r0:], S, x[:, c0:], C, 0.0, spare[r0:, c0:], C)
        x, spare = spare, x


@kernel("void(f4[::1], f4[::1], f4, f4, i8)")
def _step(weight, step, decay, rate, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(weight.size, t, threads)
        w, o = weight[lo:hi], step[lo:hi]
        for i in range(w.size):
            w[i] = decay * w[i] - rate * o[i]
