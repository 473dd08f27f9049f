"""Sums over the rows of an array, as gradients of weights and biases are, that keep their digits.

One running float32 sum over millions of rows is off by up to 1e-3 of its value. Here three of them take turns: 256 rows
go to the first, 256 of these sums to the second, and so on, which leaves an error of some 1e-7. How rows are shared out
follows from their number alone, so threads change no bit.
"""

from __future__ import annotations

import numpy as np

from ....backend.arrays import Array
from ....backend.cpu.jit import device
from ....backend.pool import empty

f4 = np.float32
LEVELS = 3
BLOCK = 256  # numbers that are added to one sum


def groups_of(items: int, smallest: int) -> int:
    """Groups that a kernel sums by themselves, of ``smallest`` items or more.

    A thread takes the groups ``chunk(groups, t, threads)``, and of group g the items ``chunk(items, g, groups)``. Their
    number can be shared out evenly over 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64 and 96 threads.
    """
    return max(1, min(192, items // smallest))


def sums_of_groups(rows: int, width: int, threads: int) -> tuple[Array, Array]:
    """Memory for sums over rows, made here because LLVM knows of arguments alone that they do not overlap.

    Returns:
        For the sums of groups of rows (groups, ``width``), and for the group that a thread is at (threads, LEVELS,
        ``width``).
    """
    return empty((groups_of(rows, 128), width)), empty((threads, LEVELS, width))


@device
def clear_sums(sums):
    """Begin a sum over rows: zeros to ``sums`` (LEVELS, C). The rows are then added to its first row."""
    for level in range(LEVELS):
        s = sums[level]
        for c in range(s.size):
            s[c] = 0


@device
def carry(sums, rows):
    """To be called after each ``BLOCK`` rows, ``rows`` in all: the first sum goes to the next, and so on."""
    low, middle, high = sums[0], sums[1], sums[2]
    for c in range(low.size):
        middle[c] += low[c]
        low[c] = 0
    if rows % (BLOCK * BLOCK) == 0:
        for c in range(low.size):
            high[c] += middle[c]
            middle[c] = 0


@device
def finish(sums, out, beta):
    """Write the sum over all rows to ``out`` (C,), or add it if ``beta`` is not 0."""
    low, middle, high = sums[0], sums[1], sums[2]
    for c in range(out.size):
        s = high[c] + (middle[c] + low[c])
        out[c] = s + out[c] if beta != 0 else s


@device
def add_groups(groups, column, out, beta):
    """The sums of all groups, (groups, C) from ``column`` on, to ``out`` (C,), or added to it if ``beta`` is not 0."""
    total = groups[0, column : column + out.size]  # along the rows of groups: down a column, loads would be single
    for g in range(1, len(groups)):
        group = groups[g, column : column + out.size]
        for c in range(out.size):
            total[c] += group[c]
    for c in range(out.size):
        out[c] = total[c] + out[c] if beta != 0 else total[c]
