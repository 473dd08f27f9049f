"""Twins of ``ops.layer_norm``, and the two kernels that ``residual_layer_norm`` shares with it.

A row is read once into the first-level cache and finished there, with its part of ``dweight`` and ``dbias``. Rows are
summed in groups, and the groups' sums are added in order: the result depends neither on timing nor on threads.
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
from ..common.math import chunk, inverse, inverse_root, mean_of, rows_per_tile, wide_vectors
from ..common.sums import BLOCK, add_groups, carry, clear_sums, group_buffers, store_sum
from ..common.targets import NO_ROWS, NONE, rows, slot

f4 = np.float32
USED_WITH = ("linear.gelu_linear",)  # most likely; see ``embedding.py``


def layer_norm_forward(x: Array, weight: Array, bias: Array | None, *, eps: float = 1e-5) -> Any:
    """See ``ops.layer_norm.layer_norm_forward``."""
    if x.size == 0:
        return NotImplemented
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
    n, per_tile = inverse(C), rows_per_tile(C)
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        for first in range(lo, hi, per_tile):
            tile = range(first, min(first + per_tile, hi))
            for r in tile:
                if branch.size:
                    for c in range(C):
                        total[r, c] = x[r, c] + branch[r, c]
                s = f4(0)
                for c in range(C):
                    s += total[r, c]
                mean[r] = mean_of(s, n)
            for r in tile:
                m, v = mean[r], f4(0)
                for c in range(C):
                    v += (total[r, c] - m) * (total[r, c] - m)
                rstd[r] = inverse_root(mean_of(v, n) + eps)
            for r in tile:
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
        *group_buffers(rstd.size, 2 * weight.size, threads_for(x.size)), threads_for(x.size),
    )  # fmt: skip
    return dx.result(), dweight.result(), dbias.result()


@kernel(
    "void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[::1], f4[::1], f4[:, ::1], f4, f4[::1], f4, f4[::1], f4, "
    "f4[:, ::1], f4[:, :, ::1], i8)"
)
def _backward(
    dout, dtotal, x, mean, rstd, weight, dx, dx_beta, dweight, dweight_beta, dbias, dbias_beta, groups, memory, threads
):  # fmt: skip
    R, C = x.shape
    n = f4(C)
    for t in prange(threads):
        wide_vectors()
        sums = memory[t]
        begin, end = chunk(len(groups), t, threads)
        for group in range(begin, end):
            lo, hi = chunk(R, group, len(groups))
            in_blocks = hi - lo > BLOCK  # a small group has a single sum
            running = sums[0] if in_blocks else groups[group]
            running[:] = 0
            if in_blocks:
                clear_sums(sums)
            dw, db = running[:C], running[C : 2 * C]
            for first in range(lo, hi, BLOCK):
                for r in range(first, min(first + BLOCK, hi)):
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
                if in_blocks:
                    carry(sums, first + BLOCK - lo)
            if in_blocks:
                store_sum(sums, groups[group], f4(0))
    add_groups(groups, 0, dweight, dweight_beta)
    add_groups(groups, C, dbias, dbias_beta)
