"""Twins of ``ops.layer_norm``, and the two kernels that ``residual_layer_norm`` shares with it.

A row is read once into the first-level cache and finished there. A thread sums its rows' shares of ``dweight``
and ``dbias`` by itself; the partial sums are added in order of threads, so the result does not depend on timing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import SKIP, Target
from ....backend.threads import threads_for
from ..common.math import chunk, rows_together, wide_vectors
from ..common.targets import NO_ROWS, NONE, rows, slot

f4 = np.float32


def layer_norm_forward(x: Array, weight: Array, bias: Array | None, *, eps: float = 1e-5) -> Any:
    """See ``ops.layer_norm.layer_norm_forward``."""
    out, mean, rstd = empty(x.shape), empty(x.shape[:-1]), empty(x.shape[:-1])
    run_forward(x, None, x, weight, bias, eps, out, mean, rstd)
    return out, (x, mean, rstd, weight, bias)


def layer_norm_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.layer_norm.layer_norm_backward``."""
    return run_backward(None, dout, cache, into)


def run_forward(
    x: Array, branch: Array | None, total: Array, weight: Array, bias: Array | None, eps: float,
    out: Array, mean: Array, rstd: Array,
) -> None:  # fmt: skip
    """Normalise ``x``, or ``total = x + branch`` where there is a branch."""
    _forward(
        rows(x), NO_ROWS if branch is None else rows(branch), rows(total),
        np.ascontiguousarray(weight), NONE if bias is None else np.ascontiguousarray(bias), eps,
        rows(out), mean.reshape(-1), rstd.reshape(-1), threads_for(x.size),
    )  # fmt: skip


@kernel("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[::1], f4, f4[:, ::1], f4[::1], f4[::1], i8)")
def _forward(x, branch, total, weight, bias, eps, out, mean, rstd, threads):
    R, C = x.shape
    n = f4(C)  # a float32 divided by an integer would be a float64, and so would all that is computed with it
    together = rows_together(C)
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        for first in range(lo, hi, together):
            few = range(first, min(first + together, hi))
            for r in few:
                if branch.size:
                    for c in range(C):
                        total[r, c] = x[r, c] + branch[r, c]
                s = f4(0)
                for c in range(C):
                    s += total[r, c]
                mean[r] = s / n
            for r in few:
                m, v = mean[r], f4(0)
                for c in range(C):
                    v += (total[r, c] - m) * (total[r, c] - m)
                rstd[r] = f4(1) / np.sqrt(v / n + eps)
            for r in few:
                m, k = mean[r], rstd[r]
                if bias.size:
                    for c in range(C):
                        out[r, c] = (total[r, c] - m) * k * weight[c] + bias[c]
                else:
                    for c in range(C):
                        out[r, c] = (total[r, c] - m) * k * weight[c]


def run_backward(dtotal: Array | None, dout: Array, cache: Any, into: tuple[Target, Target, Target]) -> Any:
    """Gradients of the norm; ``dtotal``, if any, is added to dx."""
    x, mean, rstd, weight, bias = cache
    if x.size == 0:
        return NotImplemented
    dx, dweight = slot(into[0], x.shape), slot(into[1], weight.shape)
    dbias = slot(SKIP if bias is None else into[2], weight.shape)
    _backward(
        rows(dout), NO_ROWS if dtotal is None else rows(dtotal), rows(x), mean.reshape(-1), rstd.reshape(-1),
        np.ascontiguousarray(weight), rows(dx.array), dx.beta, dweight.array, dweight.beta, dbias.array, dbias.beta,
        threads_for(x.size),
    )  # fmt: skip
    return dx.result(), dweight.result(), dbias.result()


@kernel(
    "void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[::1], f4[::1], f4[:, ::1], f4, f4[::1], f4, f4[::1], f4, i8)"
)
def _backward(dout, dtotal, x, mean, rstd, weight, dx, dx_beta, dweight, dweight_beta, dbias, dbias_beta, threads):
    R, C = x.shape
    n = f4(C)
    partial = np.zeros((threads, 2, C), f4)
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        dw, db = partial[t, 0], partial[t, 1]
        for r in range(lo, hi):
            m, k = mean[r], rstd[r]
            g_sum, gx_sum = f4(0), f4(0)
            for c in range(C):
                xhat = (x[r, c] - m) * k
                g = dout[r, c] * weight[c]
                g_sum += g
                gx_sum += g * xhat
                dw[c] += dout[r, c] * xhat
                db[c] += dout[r, c]
            g_mean, gx_mean = g_sum / n, gx_sum / n
            if dx.size:
                for c in range(C):
                    xhat = (x[r, c] - m) * k
                    d = k * (dout[r, c] * weight[c] - g_mean - xhat * gx_mean)
                    if dtotal.size:
                        d += dtotal[r, c]
                    dx[r, c] = d + dx[r, c] if dx_beta != 0 else d
    for c in range(dweight.size):
        s = f4(0)
        for t in range(threads):
            s += partial[t, 0, c]
        dweight[c] = s + dweight[c] if dweight_beta != 0 else s
    for c in range(dbias.size):
        s = f4(0)
        for t in range(threads):
            s += partial[t, 1, c]
        dbias[c] = s + dbias[c] if dbias_beta != 0 else s
