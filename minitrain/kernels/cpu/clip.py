"""Twin of ``optim.clip``'s reduction. Partial sums are added in order of threads: same count, same bytes."""

from __future__ import annotations

import numpy as np
from numba import prange

from ...backend.arrays import Array
from ...backend.cpu.jit import kernel
from ...backend.threads import threads_for
from .common.math import chunk


def sum_of_squares(x: Array) -> float:
    """See ``optim.clip.sum_of_squares``."""
    partial = np.zeros(threads_for(x.size))
    _partial_sums(x.reshape(-1), partial, partial.size)
    return float(partial.sum())


@kernel("void(f4[::1], f8[::1], i8)")
def _partial_sums(x, partial, threads):
    for t in prange(threads):
        lo, hi = chunk(x.size, t, threads)
        s, part = 0.0, x[lo:hi]
        for i in range(part.size):
            s += np.float64(part[i]) * np.float64(part[i])
        partial[t] = s
