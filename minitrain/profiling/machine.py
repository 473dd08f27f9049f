"""The machine's speed: the limits of its roofline (Williams, Waterman, Patterson, 2009).

All are measured, with the threads that the kernels use: the arithmetic of a tile on data in the first-level cache, the
fastest product of large matrices with the code of linear layers, and the fastest triad over arrays larger than all
caches.
"""

from __future__ import annotations

import functools
import time
from typing import NamedTuple

import numpy as np

from ..backend.precision import HALF
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
        flops: most floating-point operations per second of products, in the precision of their operands.
        bandwidth: bytes per second between memory and cores, read and written.
        threads: number of threads that all were measured with.
        precision: precision of the operands of products.
        float32_flops: the same as ``flops`` in float32, for all other arithmetic; ``None`` if it is the same.
        sgemm: floating-point operations per second of a product of large float32 matrices; ``None`` if not measured.
    """

    flops: float
    bandwidth: float
    threads: int
    precision: str = "float32"
    float32_flops: float | None = None
    sgemm: float | None = None

    @property
    def ridge(self) -> float:
        """Operations of products per byte above which arithmetic is the limit, and below which memory is."""
        return self.flops / self.bandwidth

    def arithmetic(self, flops: float, *, product: bool = True) -> float:
        """The least number of seconds for these operations, of products or of anything else."""
        plain = self.flops if self.float32_flops is None else self.float32_flops
        return flops / (self.flops if product else plain)

    def memory(self, nbytes: float) -> float:
        """The least number of seconds to move this many bytes."""
        return nbytes / self.bandwidth

    def bound(self, flops: float, nbytes: float, *, product: bool = True) -> float:
        """The least number of seconds for this much work: arithmetic and memory overlap, so the longer one counts."""
        return max(self.arithmetic(flops, product=product), self.memory(nbytes))


def measure_machine(side: int = SIDE, length: int = LENGTH, *, precision: str = "float32") -> Machine:
    """Measure this machine, in about a second.

    Args:
        side: rows and columns of the matrices.
        length: elements of each of the triad's arrays.
        precision: precision of the operands of products.
    """
    sgemm = sgemm_peak("cpu", side)
    plain = max(sgemm, tile_peak("float32") or 0.0)  # a library's product may use units that our tile does not
    flops = max(plain, tile_peak(precision) or 0.0) if precision in HALF else plain
    return Machine(flops, memory_bandwidth(length), thread_count(), precision, plain, sgemm)


@functools.cache
def tile_peak(precision: str) -> float | None:
    """Operations per second of tiles in the first-level cache; ``None`` without AVX2. Measured once per process."""
    from ..backend.cpu.products.sgemm import instructions  # needs numba, and predictions for GPUs do not

    if instructions() is None:
        return None
    from ..kernels.cpu.peak import product_peak

    return product_peak(precision)


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
