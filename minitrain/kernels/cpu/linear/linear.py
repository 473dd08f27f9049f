"""Twins of ``ops.linear``: each thread computes one block of each product, with its bias or bias gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import SKIP, Target
from ....backend.threads import threads_for
from ..common.gemm import available, block, gemm_nn, gemm_nt, gemm_tn
from ..common.half import covered, factor, in_half, keep, no_rows
from ..common.math import chunk
from ..common.sums import LEVELS, carry, clear_sums, store_sum
from ..common.targets import NONE, rows, slot

ROWS_PER_SUM = 64  # rows of a bias gradient in one running sum: more would lose digits where they cancel


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Any:
    """See ``ops.linear.linear_forward``."""
    if not available or x.shape[-1] == 0 or not covered(x, weight):
        return NotImplemented
    out = empty((*x.shape[:-1], weight.shape[0]))
    kept, x_factor = keep(x)
    _forward(
        rows(x_factor),
        rows(factor(weight)),
        NONE if bias is None else np.ascontiguousarray(bias),
        rows(out),
        threads_for(x.size * weight.shape[0] / 32),
    )
    return out, (kept, weight, bias)


@kernel("void(operand[:, ::1], operand[:, ::1], f4[::1], f4[:, ::1], i8)")
def _forward(x, weight, bias, out, threads):
    R, K = x.shape
    N = weight.shape[0]
    for t in prange(threads):
        r0, r1, c0, c1 = block(R, N, t, threads)
        if r1 > r0 and c1 > c0:
            gemm_nt(r1 - r0, c1 - c0, K, 1.0, x[r0:], K, weight[c0:], K, 0.0, out[r0:, c0:], N)
            if bias.size:
                b = bias[c0:c1]
                for r in range(r0, r1):
                    row = out[r, c0:c1]
                    for c in range(b.size):
                        row[c] += b[c]


def linear_backward(dout: Array, cache: Any, *, into: tuple[Target, Target, Target]) -> Any:
    """See ``ops.linear.linear_backward``."""
    x, weight, bias = cache
    if not available or dout.size == 0 or not covered(x, weight):
        return NotImplemented
    dx, dweight = slot(into[0], x.shape), slot(into[1], weight.shape)
    dbias = slot(SKIP, (0,)) if bias is None else slot(into[2], bias.shape)
    half, wanted = in_half(x), dx.array.size or dweight.array.size
    _backward(
        rows(factor(dout, half)) if wanted else no_rows(half),
        rows(factor(x, half)) if dweight.array.size else no_rows(half),
        rows(factor(weight, half)) if dx.array.size else no_rows(half),
        rows(dout), rows(dx.array), dx.beta, dweight.array, dweight.beta, dbias.array, dbias.beta,
        threads_for(x.size * weight.shape[0] / 32),
    )  # fmt: skip
    return dx.result(), dweight.result(), dbias.result()


@kernel(
    "void(operand[:, ::1], operand[:, ::1], operand[:, ::1], f4[:, ::1], f4[:, ::1], f4, f4[:, ::1], f4, f4[::1], "
    "f4, i8)"
)
def _backward(factor, x, weight, dout, dx, dx_beta, dweight, dweight_beta, dbias, dbias_beta, threads):
    R, N = dout.shape
    K = max(x.shape[1], weight.shape[1])  # one may be left out
    for t in prange(threads):
        if dx.size:
            r0, r1, c0, c1 = block(R, K, t, threads)
            if r1 > r0 and c1 > c0:
                gemm_nn(r1 - r0, c1 - c0, N, 1.0, factor[r0:], N, weight[:, c0:], K, dx_beta, dx[r0:, c0:], K)
        if dweight.size:
            r0, r1, c0, c1 = block(N, K, t, threads)
            if r1 > r0 and c1 > c0:
                gemm_tn(r1 - r0, c1 - c0, R, 1.0, factor[:, r0:], N, x[:, c0:], K, dweight_beta, dweight[r0:, c0:], K)
        if dbias.size:
            c0, c1 = chunk(N, t, threads)
            sums = np.empty((LEVELS, c1 - c0), np.float32)
            clear_sums(sums)
            d = sums[0]
            for first in range(0, R, ROWS_PER_SUM):
                for r in range(first, min(first + ROWS_PER_SUM, R)):
                    row = dout[r, c0:c1]
                    for c in range(d.size):
                        d[c] += row[c]
                carry(sums, first + ROWS_PER_SUM)
            store_sum(sums, dbias[c0:c1], dbias_beta)
