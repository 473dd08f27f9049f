"""The order of samples: a pure function of (seed, epoch), so that nothing has to be saved.

All epochs, one after another, form an endless sequence. Position p is in epoch ``p // count``. A batch is a range of
the sequence; it may begin in one epoch and end in the next.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...random import Key, random_bits

Positions = NDArray[np.int64]


def shuffled(key: Key, count: int) -> Positions:
    """The numbers 0 … ``count - 1`` in the random order of ``key``, int64 ``(count,)``.

    The order comes from Philox and a stable sort, so it does not depend on the version of NumPy.
    """
    return np.argsort(random_bits(key, (1, count))[0], kind="stable")


def across_epochs(order: Callable[[int], Positions], per_epoch: int, first: int, count: int) -> Positions:
    """Entries ``first … first + count - 1`` of the sequence of all epochs, int64 ``(count,)``.

    Args:
        order: returns the ``(per_epoch,)`` entries of an epoch.
        per_epoch: number of entries in an epoch.
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
    """Each of ``count`` items once per epoch, in a new order each time.

    Attributes:
        count: number of items.
        key: random key of the order; epoch e has ``key.fold(e)``.
    """

    def __init__(self, count: int, key: Key) -> None:
        self.count, self.key = count, key
        self._latest: tuple[int, Positions] | None = None  # of one epoch only: a step rarely needs another

    def of_epoch(self, epoch: int) -> Positions:
        """The items in the order of ``epoch``, int64 ``(count,)``."""
        if self._latest is None or self._latest[0] != epoch:
            self._latest = (epoch, self._drawn(self.key.fold(epoch)))
        return self._latest[1]

    def _drawn(self, key: Key) -> Positions:
        """The items in the order of the epoch with this key."""
        return shuffled(key, self.count)

    def take(self, first: int, count: int) -> Positions:
        """Entries ``first … first + count - 1`` of the sequence of all epochs, int64 ``(count,)``."""
        return across_epochs(self.of_epoch, self.count, first, count)


class ShardOrder(EpochOrder):
    """Each item once per epoch, shard after shard: shards in a new order, and the items within each too.

    Reading then stays within one shard for a while, which archives on slow disks need. Items of different shards mix
    only as far as a batch reaches over a border, so the shards themselves should be mixed.

    Attributes:
        sizes: ``(n,)`` int64, items in each shard, which are numbered shard after shard.
    """

    def __init__(self, sizes: Positions, key: Key) -> None:
        self.sizes = np.asarray(sizes, dtype=np.int64)
        super().__init__(int(self.sizes.sum()), key)

    def _drawn(self, key: Key) -> Positions:
        starts = np.cumsum(self.sizes) - self.sizes
        shards = shuffled(key.fold("shards"), self.sizes.size).tolist()
        return np.concatenate([starts[shard] + shuffled(key.fold(shard), int(self.sizes[shard])) for shard in shards])
