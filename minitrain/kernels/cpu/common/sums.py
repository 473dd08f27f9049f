"""Accurate sums over the rows of an array, as for the gradients of weights and biases.

One running float32 sum over millions of rows has a relative error of up to 1e-3. Here three sums cascade: 256 rows go
to the first, 256 of these sums to the second, and so on. That leaves an error of about 1e-7. The grouping depends on
the number of rows alone, so the number of threads changes no bit.
"""

from __future__ import annotations

import math

import numpy as np

from ....backend.arrays import Array
from ....backend.cpu._simd import CACHE_LINE
from ....backend.cpu.jit import device
from ....backend.pool import empty

f4 = np.float32
LEVELS = 3
BLOCK = 256  # numbers added to one sum


def group_count(items: int, smallest: int) -> int:
    """How many groups a kernel sums separately; a group has ``smallest`` items or more.

    Thread t takes the groups ``chunk(groups, t, threads)``; group g has the items ``chunk(items, g, groups)``. The
    largest number of groups, 192, divides evenly over 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64 and 96 threads.
    """
    return max(1, min(192, items // smallest))


def group_buffers(rows: int, width: int, threads: int) -> tuple[Array, Array]:
    """Memory for sums over rows, allocated outside the kernel: LLVM knows only of arguments that they do not alias.

    Two threads that write to one cache line take it from each other each time. So each group and each cascade begins
    at a line of its own, and rows are as wide as whole lines; what exceeds ``width`` means nothing.

    Returns:
        One array for the sums of groups of rows (groups, ``width`` or more), and one for the cascade of each thread
        (threads, LEVELS, ``width`` or more).
    """
    whole = -(-width // CACHE_LINE) * CACHE_LINE
    return _lines((group_count(rows, 128), whole)), _lines((threads, LEVELS, whole))


def _lines(shape: tuple[int, ...]) -> Array:
    """Like ``empty``, but a small array also begins at a cache line; rows are whole lines."""
    n = math.prod(shape)
    memory = empty((n + CACHE_LINE,))
    first = -(memory.ctypes.data // memory.itemsize) % CACHE_LINE
    return memory[first : first + n].reshape(shape)


@device
def clear_sums(sums):
    """Begin a sum over rows: set ``sums`` (LEVELS, C) to zero. The rows are then added to its first row."""
    for level in range(LEVELS):
        s = sums[level]
        for c in range(s.size):
            s[c] = 0


@device
def carry(sums, rows):
    """Move the first sum into the next, and so on. Call this after each ``BLOCK`` rows, with the ``rows`` so far."""
    low, middle, high = sums[0], sums[1], sums[2]
    for c in range(low.size):
        middle[c] += low[c]
        low[c] = 0
    if rows % (BLOCK * BLOCK) == 0:
        for c in range(low.size):
            high[c] += middle[c]
            middle[c] = 0


@device
def store_sum(sums, out, beta):
    """Write the sum over all rows to ``out`` (C,), or add it if ``beta`` is not 0."""
    low, middle, high = sums[0], sums[1], sums[2]
    for c in range(out.size):
        s = high[c] + (middle[c] + low[c])
        out[c] = s + out[c] if beta != 0 else s


@device
def add_groups(groups, column, out, beta):
    """Write the sum of all groups (groups, C), from ``column`` on, to ``out`` (C,); add it if ``beta`` is not 0."""
    total = groups[0, column : column + out.size]  # row by row: loads down a column would not vectorise
    for g in range(1, len(groups)):
        group = groups[g, column : column + out.size]
        for c in range(out.size):
            total[c] += group[c]
    for c in range(out.size):
        out[c] = total[c] + out[c] if beta != 0 else total[c]
