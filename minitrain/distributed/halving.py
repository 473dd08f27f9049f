"""Sums over many ranks in few messages: pairs exchange halves, then quarters of halves, and so on.

Where each part of a buffer has an owner who gets it from everybody, a rank sends ``P - 1`` messages for a sum over P
ranks. Here it sends ``log2 P``, with as many bytes. Rank r is paired with ``r ^ 1``, then with ``r ^ 2``, ``r ^ 4``, …,
so the first pairs add ``0 + 1`` and ``2 + 3``, the next ``(0+1) + (2+3)``: the order of `minitrain.distributed.tree`,
with the same bytes. R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of Collective Communication Operations in
MPICH" (2005), call it recursive halving, and the way back recursive doubling.

In the end rank r shall have part r. So parts are put in the order of their reversed bits, 0 2 1 3 for four ranks: all
that a rank keeps in a round is then one half of what it kept before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import array_module, is_cupy
from .halves import rounded_add

MANY = 16
"""Ranks from which on this pays: fewer are often on one machine, where messages cost little and copies do not."""


class Round(NamedTuple):
    """A round of a rank: its partner, and what it keeps and gives away of the reordered buffer."""

    partner: int
    kept: slice
    given: slice


def suits(ranks: int) -> bool:
    """Whether so many ranks add in this way: many, and a power of two, so that all have partners."""
    return ranks >= MANY and ranks & (ranks - 1) == 0


def reversed_bits(ranks: int) -> list[int]:
    """0, …, ranks - 1 in the order of their reversed bits; ``ranks`` is a power of two.

    Example:
        >>> reversed_bits(8)
        [0, 4, 2, 6, 1, 5, 3, 7]
    """
    order = [0]
    while len(order) < ranks:
        order = [2 * one for one in order] + [2 * one + 1 for one in order]
    return order


class Ranks(Protocol):
    """The part of a `Group` that this needs; `Group` imports this module."""

    @property
    def rank(self) -> int:
        """This rank."""

    @property
    def size(self) -> int:
        """How many there are."""

    def exchange_adding(self, outgoing: Any, incoming: Any, dtype: Any) -> bool:
        """See `Group`."""

    def send_and_receive(self, outgoing: Any, incoming: Any, half: bool) -> None:
        """See `Group`."""


def reduce_scatter(group: Ranks, array: NDArray[Any], parts: Sequence[slice], *, half: bool) -> None:
    """Add over all ranks; afterwards this rank's part of ``array`` is the sum. See `Group.reduce_scatter`."""
    xp, order = array_module(array), reversed_bits(group.size)
    moved = xp.concatenate([array[parts[one]] for one in order])
    kept = slice(0, array.size)
    for partner, kept, given in _rounds(group.rank, order, parts):
        mine, its = moved[kept], moved[given]
        if not half and not is_cupy(array):
            sent, place = ({partner: x.view(np.uint8).data} for x in (its, mine))
            if group.exchange_adding(sent, place, array.dtype):
                continue
        got = xp.empty_like(mine)
        group.send_and_receive({partner: its}, {partner: got}, half)
        left, right = (mine, got) if group.rank < partner else (got, mine)
        (rounded_add if half else xp.add)(left, right, out=mine)
    array[parts[group.rank]] = moved[kept]


def all_gather(group: Ranks, array: NDArray[Any], parts: Sequence[slice], *, half: bool) -> None:
    """Fill ``array``: each rank's part of it comes from that rank. See `Group.all_gather`."""
    order = reversed_bits(group.size)
    moved = array_module(array).empty_like(array)
    rounds = list(_rounds(group.rank, order, parts))
    moved[rounds[-1].kept] = array[parts[group.rank]]
    for partner, kept, given in reversed(rounds):
        group.send_and_receive({partner: moved[kept]}, {partner: moved[given]}, half)
    start = 0
    for one in order:
        where = parts[one]
        array[where] = moved[start : start + where.stop - where.start]
        start += where.stop - where.start


def _rounds(rank: int, order: Sequence[int], parts: Sequence[slice]) -> Iterator[Round]:
    """The rounds of a rank, from halves to single parts."""
    ends = np.cumsum([0, *(parts[one].stop - parts[one].start for one in order)]).tolist()
    first, last = 0, len(order)
    for bit in range(len(order).bit_length() - 1):
        middle = (first + last) // 2
        low, high = slice(ends[first], ends[middle]), slice(ends[middle], ends[last])
        if rank >> bit & 1:
            first = middle
            yield Round(rank ^ 1 << bit, high, low)
        else:
            last = middle
            yield Round(rank ^ 1 << bit, low, high)
