"""STREAM's triad (McCalpin, 1995), ``a + scale * b``, written over ``a``: it measures memory bandwidth.

It is part of no operation. A separate output array would first be loaded into cache, traffic that is not counted.
"""

from __future__ import annotations

from numba import prange

from ...backend.arrays import Array
from ...backend.cpu.jit import kernel
from ...backend.threads import thread_count
from .common.math import chunk


def triad(a: Array, b: Array, scale: float) -> None:
    """Add ``scale * b`` to ``a``; both are float32 of one shape (N,)."""
    _triad(a, b, scale, thread_count())


@kernel("void(f4[::1], f4[::1], f4, i8)")
def _triad(a, b, scale, threads):
    for t in prange(threads):
        lo, hi = chunk(a.size, t, threads)
        x, y = a[lo:hi], b[lo:hi]
        for i in range(x.size):
            x[i] = x[i] + scale * y[i]
