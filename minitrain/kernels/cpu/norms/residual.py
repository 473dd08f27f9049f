"""Twin of ``ops.residual``'s forward: the sum, by all threads."""

from __future__ import annotations

from typing import Any

from numba import prange

from ....backend.arrays import Array
from ....backend.cpu.jit import kernel
from ..common.launch import launch_forward_of_two
from ..common.math import aligned_chunk


def residual_forward(x: Array, branch: Array) -> Any:
    """See ``ops.residual.residual_forward``."""
    return launch_forward_of_two(_add, x, branch), ()


@kernel("void(f4[::1], f4[::1], f4[::1], i8)")
def _add(x, branch, out, threads):
    for t in prange(threads):
        lo, hi = aligned_chunk(x.size, t, threads)
        a, b, total = x[lo:hi], branch[lo:hi], out[lo:hi]
        for i in range(total.size):
            total[i] = a[i] + b[i]
