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
from ..common.math import chunk, exp_nonpositive, maximum, rows_per_tile, wide_vectors
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
    per_tile = rows_per_tile(C)
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(R, t, threads)
        stats = np.empty(per_tile, f4)  # first a row's maximum, then 1 over its sum
        for first in range(lo, hi, per_tile):
            tile = range(first, min(first + per_tile, hi))
            for r in tile:
                stats[r - first] = maximum(x[r])
            for r in tile:
                highest, total = stats[r - first], f4(0)
                for c in range(C):
                    e = exp_nonpositive(x[r, c] - highest)
                    out[r, c] = e
                    total += e
                stats[r - first] = f4(1) / total
            for r in tile:
                k = stats[r - first]
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
            mean = f4(0)  # of the row of dout, weighted by the probabilities
            for c in range(C):
                mean += dout[r, c] * y[r, c]
            for c in range(C):
                d = y[r, c] * (dout[r, c] - mean)
                dx[r, c] = d + dx[r, c] if beta != 0 else d
