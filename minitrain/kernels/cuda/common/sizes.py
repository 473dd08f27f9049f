"""Sizes of launches: how many blocks and threads, and how many numbers a thread loads at once."""

from __future__ import annotations

from ....backend.arrays import Array
from ....backend.cuda.launch import address_of, shared_memory_limit

THREADS = 256
"""Threads of a block for element-wise kernels."""
MOST_BLOCKS = 1024
"""Blocks of a kernel whose threads loop over the elements: some waves on any device."""
PARTS = 256
"""Blocks that leave partial sums of a column. A constant, so a sum has the same order on every device."""


def ceil_div(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


def vector_width(size: int, *arrays: Array | None) -> int:
    """4 if rows of ``size`` floats in all arrays can be loaded 16 bytes at a time, else 1."""
    fits = size % 4 == 0 and all(address_of(x) % 16 == 0 for x in arrays if x is not None)
    return 4 if fits else 1


def warps_for(bytes_of_a_warp: int, most: int = 4) -> int:
    """The most warps of a block whose shared memory the device has; 0 if not even one fits."""
    warps = most
    while warps and warps * bytes_of_a_warp > shared_memory_limit():
        warps //= 2
    return warps


def blocks_for(elements: int) -> int:
    """Blocks of ``THREADS`` threads that loop over ``elements``."""
    return min(ceil_div(elements, THREADS), MOST_BLOCKS)


def threads_of_row(columns: int) -> int:
    """Threads of a block that computes one row: whole warps, and few for short rows, where most would have no work."""
    return min(32 * max(1, ceil_div(columns, 256)), 512)
