"""The sum of an array: it measures the bandwidth of plain reads, the limit of a step that reads each weight once."""

from __future__ import annotations

import numpy as np
from numba import prange

from ...backend.arrays import Array
from ...backend.cpu.jit import kernel
from ...backend.threads import thread_count
from .common.math import chunk, wide_vectors


def read(a: Array) -> float:
    """The sum of a (N,) float32, by all threads."""
    sums = np.zeros((thread_count(), 16), np.float32)  # a cache line each
    _read(a, sums, len(sums))
    return float(sums[:, 0].sum())


@kernel("void(f4[::1], f4[:, ::1], i8)")
def _read(a, sums, threads):
    for t in prange(threads):
        wide_vectors()
        lo, hi = chunk(a.size, t, threads)
        x, total = a[lo:hi], np.float32(0)
        for i in range(x.size):
            total += x[i]
        sums[t, 0] = total
