"""Twins of ``ops.rms_norm``, and the two kernels that ``residual_rms_norm`` shares with it.

As in ``layer_norm``, a row is finished while it is in the first-level cache and added to its group's ``dweight``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.math import chunk, inverse, inverse_root, mean_of, rows_per_tile, wide_vectors
from ..common.sums import BLOCK, add_groups, carry, clear_sums, group_buffers, store_sum
from ..common.targets import NO_ROWS, rows, slot

f4 = np.float32
USED_WITH = ("attention.rope", "activations.swiglu")  # most likely; see ``embedding.py``


def rms_norm_forward(x: Array, weight: Array, *, eps: float = 1e-5) -> Any:
    """See ``ops.rms_norm.rms_norm_forward``."""
    if x.size == 0:
        return NotImplemented
    out, rstd = empty(x.shape), empty(x.shape[:-1])
    run_forward(x, None, x, weight, eps, out, rstd)
    return out, (x, rstd, weight)


def rms_norm_backward(dout: Array, cache: Any, *, into: tuple[Target, Target]) -> Any:
    """See ``ops.rms_norm.rms_norm_backward``."""
    return run_backward(None, dout, cache, into)


def run_forward(
    x: Array, branch: Array | None, total: Array, weight: Array, eps: float, out: Array, rstd: Array
) -> None:
    """Normalise ``x``, or ``total = x + branch`` where there is a branch."""
    _forward(
        rows(x), NO_ROWS if branch is None else rows(branch), rows(total), np.ascontiguousarray(weight), eps,
        rows(out), rstd.reshape(-1), threads_for(x.size),
    )  # fmt: skip


@kernel("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], f4, f4[:, ::1], f4[::1], i8)")
def _forward(x, branch, total, weight, eps, out, rstd, threads):
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
                squares = f4(0)
                for c in range(C):
                    squares += total[r, c] * total[r, c]
                rstd[r] = inverse_root(mean_of(squares, n) + eps)
            for r in tile:
                k = rstd[r]
                for c in range(C):
                    out[r, c] = total[r, c] * k * weight[c]


def run_backward(dtotal: Array | None, dout: Array, cache: Any, into: tuple[Target, Target]) -> Any:
    """Gradients of the norm; ``dtotal``, if any, is added to dx."""
    x, rstd, weight = cache
    if x.size == 0:
        return NotImplemented
    dx, dweight = slot(into[0], x.shape), slot(into[1], weight.shape)
    _backward(
        rows(dout), NO_ROWS if dtotal is None else rows(dtotal), rows(x), rstd.reshape(-1),
        np.ascontiguousarray(weight), rows(dx.array), dx.beta, dweight.array, dweight.beta,
        *group_buffers(rstd.size, weight.size, threads_for(x.size)), threads_for(x.size),
    )  # fmt: skip
    return dx.result(), dweight.result()


@kernel(
    "void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4[::1], f4[::1], f4[:, ::1], f4, f4[::1], f4, "
    "f4[:, ::1], f4[:, :, ::1], i8)"
)
def _backward(dout, dtotal, x, rstd, weight, dx, dx_beta, dweight, dweight_beta, groups, memory, threads):
    R, C = x.shape
    n = f4(C)
    for t in prange(threads):
        wide_vectors()
        sums = memory[t]
        begin, end = chunk(len(groups), t, threads)
        for g in range(begin, end):
            lo, hi = chunk(R, g, len(groups))
            in_blocks = hi - lo > BLOCK  # a small group has a single sum
            dw = sums[0] if in_blocks else groups[g]
            dw[:] = 0
            if in_blocks:
                clear_sums(sums)
            for first in range(lo, hi, BLOCK):
                for r in range(first, min(first + BLOCK, hi)):
                    k, gx_sum = rstd[r], f4(0)
                    for c in range(C):
                        xhat = x[r, c] * k
                        gx_sum += dout[r, c] * weight[c] * xhat
                        dw[c] += dout[r, c] * xhat
                    gx_mean = gx_sum / n
                    if dx.size:
                        for c in range(C):
                            xhat = x[r, c] * k
                            d = k * (dout[r, c] * weight[c] - xhat * gx_mean)
                            if dtotal.size:
                                d += dtotal[r, c]
                            dx[r, c] = d + dx[r, c] if dx_beta != 0 else d
                if in_blocks:
                    carry(sums, first + BLOCK - lo)
            if in_blocks:
                store_sum(sums, groups[g], f4(0))
    add_groups(groups, 0, dweight, dweight_beta)
