"""The order in which samples are visited: a pure function of (seed, epoch), so that nothing has to be saved.

All epochs behind each other form one endless sequence. Position p lies in epoch ``p // count``, and batches are
stretches of the sequence: one may begin in one epoch and end in the next.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...random import Key, random_bits

Positions = NDArray[np.int64]


def shuffled(key: Key, count: int) -> Positions:
    """The numbers 0 … ``count - 1`` in the random order of ``key``, int64 ``(count,)``.

    Philox and a stable sort: the order does not depend on the version of NumPy.
    """
    return np.argsort(random_bits(key, (1, count))[0], kind="stable")


def across_epochs(order: Callable[[int], Positions], per_epoch: int, first: int, count: int) -> Positions:
    """Entries ``first … first + count - 1`` of the sequence of all epochs, int64 ``(count,)``.

    Args:
        order: gives the ``(per_epoch,)`` entries of an epoch.
        per_epoch: entries of an epoch.
        first: position of the first entry.
        count: how many.
    """
    entries = np.empty(count, dtype=np.int64)
    filled = 0
    while filled < count:
        epoch, index = divmod(first + filled, per_epoch)
        part = order(epoch)[index : index + count - filled]
        entries[filled : filled + part.size] = part
        filled += part.size
    return entries


class EpochOrder:
    """Each of ``count`` things once an epoch, in an order of its own.

    Attributes:
        count: how many things.
        key: random key of the order; epoch e has ``key.fold(e)``.
    """

    def __init__(self, count: int, key: Key) -> None:
        self.count, self.key = count, key
        self._latest = (-1, np.arange(count))

    def of_epoch(self, epoch: int) -> Positions:
        """The things in the order of ``epoch``, int64 ``(count,)``."""
        latest, order = self._latest
        if latest != epoch:
            order = shuffled(self.key.fold(epoch), self.count)
            self._latest = (epoch, order)  # of one epoch only: a step rarely needs another
        return order

    def take(self, first: int, count: int) -> Positions:
        """Entries ``first … first + count - 1`` of the sequence of all epochs, int64 ``(count,)``."""
        return across_epochs(self.of_epoch, self.count, first, count)
