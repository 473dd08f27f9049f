"""A group of ranks: what a training calls to add and exchange arrays, written once for all engines that send bytes.

An engine sends bytes from rank to rank (`Group.exchange`). Everything else is here: a sum is formed by the owner of
each part, in the fixed order of `tree_sum`, and sent to all. So every rank gets the same bytes, whatever engine carries
them. A rank sends ``2 (P - 1) / P`` of a buffer for a sum over P ranks, as little as a ring does.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, WorkerError
from .tree import tree_sum

Vector: TypeAlias = NDArray[Any]
"""A flat buffer: one dimension, contiguous."""
Messages: TypeAlias = Mapping[int, memoryview]
"""Bytes by the rank that they go to or come from."""
PIECE = 1 << 20
"""Elements of a part that are added at a time: what arrives is added while it is in the cache."""


class PeerLost(WorkerError):
    """Another rank ended, or stands still; the message says which."""


def part(count: int, rank: int, size: int) -> slice:
    """The part of ``count`` elements that belongs to a rank; parts differ by one element at most."""
    return slice(count * rank // size, count * (rank + 1) // size)


class Group(ABC):
    """The ranks of a training, seen from one of them. All ranks make the same calls in the same order.

    Arrays are flat, contiguous buffers on the CPU. They are changed in place.

    Args:
        rank: this rank, from 0.
        size: how many ranks there are.

    Raises:
        ConfigError: if there is no such rank.
    """

    def __init__(self, rank: int, size: int) -> None:
        if not 0 <= rank < size:
            raise ConfigError(f"rank {rank} of a group of {size}: ranks count from 0 to {size - 1}")
        self.rank, self.size = rank, size

    @abstractmethod
    def exchange(self, outgoing: Messages, incoming: Messages) -> None:
        """Send ``outgoing`` and fill ``incoming``, at the same time.

        Both sides know the lengths. Messages between two ranks arrive in the order in which they were sent.

        Raises:
            PeerLost: if a rank ended or stands still.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connections. No call may follow."""

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes the run folder and talks to the user."""
        return self.rank == 0

    @property
    def others(self) -> list[int]:
        """All ranks but this one."""
        return [rank for rank in range(self.size) if rank != self.rank]

    def part(self, count: int) -> slice:
        """The part of ``count`` elements that belongs to this rank."""
        return part(count, self.rank, self.size)

    def broadcast(self, array: Vector, root: int = 0) -> None:
        """Replace ``array`` by that of rank ``root``."""
        data = _bytes(array)
        if self.rank == root:
            self.exchange(dict.fromkeys(self.others, data), {})
        else:
            self.exchange({}, {root: data})

    def reduce_scatter(self, array: Vector) -> slice:
        """Add over all ranks; afterwards this rank's part of ``array`` is the sum, and the rest is not to be read.

        Returns:
            The part.
        """
        own = self.part(array.size)
        parts = [array[part(array.size, rank, self.size)] for rank in range(self.size)]
        longest = max(one.size for one in parts)
        received = np.empty((self.size, min(longest, PIECE)), array.dtype)
        for start in range(0, longest if self.size > 1 else 0, PIECE):
            pieces = [one[start : start + PIECE] for one in parts]
            mine = pieces[self.rank]
            arrived = [mine if rank == self.rank else received[rank, : mine.size] for rank in range(self.size)]
            self.exchange(
                {rank: _bytes(pieces[rank]) for rank in self.others},
                {rank: _bytes(arrived[rank]) for rank in self.others},
            )
            total = tree_sum(arrived)
            if total is not mine:
                mine[...] = total
        return own

    def all_gather(self, array: Vector) -> None:
        """Fill ``array``: each rank's part of it comes from that rank."""
        data = [_bytes(array[part(array.size, rank, self.size)]) for rank in range(self.size)]
        self.exchange(dict.fromkeys(self.others, data[self.rank]), {rank: data[rank] for rank in self.others})

    def all_reduce(self, array: Vector) -> None:
        """Replace ``array`` by the sum over all ranks, the same bytes on each."""
        self.reduce_scatter(array)
        self.all_gather(array)

    def barrier(self) -> None:
        """Wait until all ranks have come here."""
        self.all_gather(np.zeros(self.size, np.uint8))

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, by rank, on every rank. They are what JSON can hold; floats keep their bits."""
        data = np.frombuffer(json.dumps(value).encode(), np.uint8)
        sizes = np.zeros(self.size, np.int64)
        sizes[self.rank] = data.size
        self.all_gather(sizes)
        texts = [data if rank == self.rank else np.empty(sizes[rank], np.uint8) for rank in range(self.size)]
        self.exchange(dict.fromkeys(self.others, _bytes(data)), {rank: _bytes(texts[rank]) for rank in self.others})
        return [json.loads(text.tobytes()) for text in texts]

    def from_main(self, value: Any = None) -> Any:
        """The value of rank 0, on every rank; see `gather`."""
        return self.gather(value if self.is_main else None)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Alone(Group):
    """A group of one: a training in one process whose result has the bytes of one on several ranks."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def exchange(self, outgoing: Messages, incoming: Messages) -> None:
        """Nothing: there is nobody."""

    def close(self) -> None:
        """Nothing."""


def _bytes(array: Vector) -> memoryview:
    """The memory of a flat buffer."""
    return array.view(np.uint8).data
