"""Twin of ``optim.clip``'s reduction. Partial sums are added in order of threads: the same count gives the same bytes."""

from __future__ import annotations

import numpy as np
from numba import prange

from ...backend.arrays import Array
from ...backend.jit import kernel
from ...backend.threads import thread_count
from ._math import chunk


def sum_of_squares(x: Array) -> float:
    """See ``optim.clip.sum_of_squares``."""
    partial = np.zeros(thread_count())
    _partial_sums(x.reshape(-1), partial, partial.size)
    return float(partial.sum())


@kernel("void(f4[::1], f8[::1], i8)")
def _partial_sums(x, partial, threads):  # type: ignore[no-untyped-def]
    for t in prange(threads):
        lo, hi = chunk(x.size, t, threads)
        s = 0.0
        for i in range(lo, hi):
            s += np.float64(x[i]) * np.float64(x[i])
        partial[t] = s
