"""STREAM's triad (McCalpin, 1995), ``out = a + scale * b``: it measures how fast memory is, and no operation has it."""

from __future__ import annotations

from numba import prange

from ...backend.arrays import Array
from ...backend.jit import kernel
from ...backend.threads import thread_count
from ._math import chunk


def triad(a: Array, b: Array, out: Array, scale: float) -> None:
    """Write ``a + scale * b`` over ``out``; all are float32 of one shape (N,)."""
    _triad(a, b, out, scale, thread_count())


@kernel("void(f4[::1], f4[::1], f4[::1], f4, i8)")
def _triad(a, b, out, scale, threads):
    for t in prange(threads):
        lo, hi = chunk(out.size, t, threads)
        x, y, z = a[lo:hi], b[lo:hi], out[lo:hi]
        for i in range(z.size):
            z[i] = x[i] + scale * y[i]
