"""How fast this machine is: the two numbers of its roofline (Williams, Waterman, Patterson, 2009).

Both are measured, not looked up, on the threads that the kernels use: the fastest product of large matrices, by the
code that linear layers run, and the fastest triad over arrays that no cache holds.
"""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import numpy as np

from ..backend.threads import thread_count
from ..training.callbacks.monitors.utilisation import sgemm_peak

SIDE = 2048
"""rows and columns of the matrices"""
LENGTH = 1 << 25
"""elements of each of the triad's arrays, 128 MiB"""
APART = 1 << 14
"""elements between them: at a distance of a power of two they meet in the same places of every cache, a third slower"""
REPEATS = 5


class Machine(NamedTuple):
    """The speeds of a machine.

    Attributes:
        flops: floating-point operations a second of large float32 matrix products.
        bandwidth: bytes a second between the memory and the cores, read and written.
        threads: that both were measured on.
    """

    flops: float
    bandwidth: float
    threads: int

    @property
    def ridge(self) -> float:
        """Operations a byte from which on arithmetic is the limit, and below which memory is."""
        return self.flops / self.bandwidth

    def bound(self, flops: float, nbytes: float) -> float:
        """Seconds that this much work takes at least."""
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
    """Bytes a second that the fastest of a few triads reads and writes; measured once in a process.

    Args:
        length: elements of each of its two arrays, which should be far larger than the caches.
    """
    from ..kernels.cpu.triad import triad

    a, b = np.ones((2, length + APART), np.float32)[:, :length]

    def seconds() -> float:
        began = time.perf_counter()
        triad(a, b, 0.5)
        return time.perf_counter() - began

    seconds()  # compiles the kernel, starts the threads
    return float(3 * a.nbytes) / min(seconds() for _ in range(REPEATS))
