"""Twins of ``ops.softmax``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ....backend.pool import empty
from ....backend.targets import Target
from ....backend.threads import threads_for
from ..common.math import chunk, exp_nonpositive, maximum, rows_together, wide_vectors
from ..common.targets import rows, slot

f4 = np.float32


def softmax_forward(x: Array) -> Any:
    """See ``ops.softmax.softmax_forward``."""
    if x.size == 0:
        return NotImplemented
    out = empty(x.shape)
    _forward(rows(x), rows(out), threads_for(4 * x.size))
    return out, (out,)


@kernel("void(f4[:, ::1], f4[:, ::1], i8)")
def _forward(x, out, threads):
    R, C = x.shape
    together = rows_together(C)
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        share = np.empty(together, f4)  # first a row's maximum, then 1 over its sum
        for first in range(lo, hi, together):
            few = range(first, min(first + together, hi))
            for r in few:
                share[r - first] = maximum(x[r])
            for r in few:
                highest, total = share[r - first], f4(0)
                for c in range(C):
                    e = exp_nonpositive(x[r, c] - highest)
                    out[r, c] = e
                    total += e
                share[r - first] = f4(1) / total
            for r in few:
                k = share[r - first]
                for c in range(C):
                    out[r, c] *= k


def softmax_backward(dout: Array, cache: Any, *, into: tuple[Target]) -> Any:
    """See ``ops.softmax.softmax_backward``."""
    dx = slot(into[0], dout.shape)
    if dx.array.size:
        _backward(rows(dout), rows(cache.out), rows(dx.array), dx.beta, threads_for(dout.size))
    return dx.result()


@kernel("void(f4[:, ::1], f4[:, ::1], f4[:, ::1], f4, i8)")
def _backward(dout, y, dx, beta, threads):
    R, C = y.shape
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        for r in range(lo, hi):
            mean = f4(0)  # of the row of dout, weighted with the probabilities
            for c in range(C):
                mean += dout[r, c] * y[r, c]
            for c in range(C):
                d = y[r, c] * (dout[r, c] - mean)
                dx[r, c] = d + dx[r, c] if beta != 0 else d
