"""Twin of ``optim.clip``'s reduction: sums of groups, added in order. The number of threads changes no bit."""

from __future__ import annotations

import numpy as np
from numba import prange

from ...backend.arrays import Array
from ...backend.cpu.jit import kernel
from ...backend.threads import GRAIN, threads_for
from .common.math import chunk
from .common.sums import group_count


def sum_of_squares(x: Array) -> float:
    """See ``optim.clip.sum_of_squares``."""
    partial = np.empty(group_count(x.size, GRAIN))
    _partial_sums(x.reshape(-1), partial, threads_for(x.size))
    return float(partial.sum())


@kernel("void(f4[::1], f8[::1], i8)")
def _partial_sums(x, partial, threads):
    for t in prange(threads):
        begin, end = chunk(partial.size, t, threads)
        for g in range(begin, end):
            lo, hi = chunk(x.size, g, partial.size)
            s, part = 0.0, x[lo:hi]
            for i in range(part.size):
                s += np.float64(part[i]) * np.float64(part[i])
            partial[g] = s
