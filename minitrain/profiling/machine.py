"""The machine's speed: the two numbers of its roofline (Williams, Waterman, Patterson, 2009).

Both are measured, with the threads that the kernels use: the fastest product of large matrices, with the code of linear
layers, and the fastest triad over arrays larger than all caches.
"""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import numpy as np

from ..backend.threads import thread_count
from ..training.callbacks.monitors.utilisation import sgemm_peak

SIDE = 2048
"""Rows and columns of the matrices."""
LENGTH = 1 << 25
"""Elements of each of the triad's arrays, 128 MiB."""
APART = 1 << 14
"""Elements between the arrays: at a distance of a power of two they share cache sets, which is a third slower."""
REPEATS = 5


class Machine(NamedTuple):
    """The speeds of a machine.

    Attributes:
        flops: floating-point operations per second of large float32 matrix products.
        bandwidth: bytes per second between memory and cores, read and written.
        threads: number of threads that both were measured with.
    """

    flops: float
    bandwidth: float
    threads: int

    @property
    def ridge(self) -> float:
        """Operations per byte above which arithmetic is the limit, and below which memory is."""
        return self.flops / self.bandwidth

    def bound(self, flops: float, nbytes: float) -> float:
        """The least number of seconds for this much work."""
        return max(flops / self.flops, nbytes / self.bandwidth)


def measure_machine(side: int = SIDE, length: int = LENGTH) -> Machine:
    """Measure this machine, in about a second.

    Args:
        side: rows and columns of the matrices.
        length: elements of each of the triad's arrays.
    """
    return Machine(sgemm_peak("cpu", side), memory_bandwidth(length), thread_count())


@functools.cache
def memory_bandwidth(length: int = LENGTH) -> float:
    """Bytes per second that the fastest of a few triads reads and writes; measured once per process.

    Args:
        length: elements of each of its two arrays, which should be much larger than the caches.
    """
    from ..kernels.cpu.triad import triad

    a, b = np.ones((2, length + APART), np.float32)[:, :length]

    def seconds() -> float:
        began = time.perf_counter()
        triad(a, b, 0.5)
        return time.perf_counter() - began

    seconds()  # not counted: it compiles the kernel and starts the threads
    return float(3 * a.nbytes) / min(seconds() for _ in range(REPEATS))
