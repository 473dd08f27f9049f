"""A group of ranks: what a training calls to add and exchange arrays, written once for all engines that send bytes.

An engine sends bytes from rank to rank (`Group.exchange`). Everything else is here: a sum is formed by the owner of
each part, in the fixed order of `tree_sum`, and sent to all. So every rank gets the same bytes, whatever engine carries
them. A rank sends ``2 (P - 1) / P`` of a buffer for a sum over P ranks, as little as a ring does. Many ranks add by
pairs, in the same order, see `minitrain.distributed.halving`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import array_module, is_cupy
from ..errors import ConfigError, WorkerError
from . import halving
from .halves import packed, rounded_add, unpack
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

    Arrays are flat, contiguous buffers, on the CPU unless the group is an `NcclGroup`. They are changed in place.

    Args:
        rank: this rank, from 0.
        size: how many ranks there are.

    Attributes:
        on_gpus: groups of the same ranks for arrays of a GPU, by device; see `minitrain.distributed.nccl.on_device`.

    Raises:
        ConfigError: if there is no such rank.
    """

    def __init__(self, rank: int, size: int) -> None:
        if not 0 <= rank < size:
            raise ConfigError(f"rank {rank} of a group of {size}: ranks count from 0 to {size - 1}")
        self.rank, self.size = rank, size
        self.on_gpus: dict[str, Group] = {}

    @abstractmethod
    def exchange(self, outgoing: Messages, incoming: Messages) -> None:
        """Send ``outgoing`` and fill ``incoming``, at the same time.

        Both sides know the lengths. Messages between two ranks arrive in the order in which they were sent.

        Raises:
            PeerLost: if a rank ended or stands still.
        """

    def exchange_adding(self, outgoing: Messages, incoming: Messages, dtype: np.dtype[Any]) -> bool:
        """`exchange`, where what comes is added to what is there, if this engine can do that without a copy.

        Args:
            outgoing: see `exchange`.
            incoming: numbers, from one other rank.
            dtype: their type.

        Returns:
            Whether it could; otherwise nothing was done. All ranks get the same answer.
        """
        return False

    def exchange_arrays(self, outgoing: Mapping[int, Vector], incoming: Mapping[int, Vector]) -> None:
        """`exchange` for flat buffers, by rank.

        Raises:
            ConfigError: for arrays on a GPU: `minitrain.distributed.nccl.NcclGroup` takes them.
        """
        if any(map(is_cupy, (*outgoing.values(), *incoming.values()))):
            raise ConfigError(
                f"{type(self).__name__} exchanges arrays of the CPU alone; give the trainer device=cuda, or make an "
                "NcclGroup of it"
            )
        self.exchange(
            {rank: _bytes(x) for rank, x in outgoing.items()}, {rank: _bytes(x) for rank, x in incoming.items()}
        )

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
        if self.rank == root:
            self.exchange_arrays(dict.fromkeys(self.others, array), {})
        else:
            self.exchange_arrays({}, {root: array})

    def reduce_scatter(self, array: Vector, *, half: bool = False) -> slice:
        """Add over all ranks; afterwards this rank's part of ``array`` is the sum, and the rest is not to be read.

        Args:
            array: the terms of this rank.
            half: send 16 bits of each float32 number, which has no more (`halves.round_in_place`); the sum is rounded.

        Returns:
            The part.
        """
        own = self.part(array.size)
        where = [part(array.size, rank, self.size) for rank in range(self.size)]
        if halving.suits(self.size):
            halving.reduce_scatter(self, array, where, half=half)
            return own
        parts = [array[one] for one in where]
        if self.size == 2 and not half and not is_cupy(array):  # the tree is one addition
            other = 1 - self.rank
            outgoing, incoming = ({other: _bytes(parts[rank])} for rank in (other, self.rank))
            if self.exchange_adding(outgoing, incoming, array.dtype):
                return own
        longest = max(one.size for one in parts)
        received = array_module(array).empty((self.size, min(longest, PIECE)), array.dtype)
        for start in range(0, longest if self.size > 1 else 0, PIECE):
            pieces = [one[start : start + PIECE] for one in parts]
            mine = pieces[self.rank]
            arrived = [mine if rank == self.rank else received[rank, : mine.size] for rank in range(self.size)]
            self.send_and_receive(
                {rank: pieces[rank] for rank in self.others}, {rank: arrived[rank] for rank in self.others}, half
            )
            total = tree_sum(arrived, rounded_add if half else None)
            if total is not mine:
                mine[...] = total
        return own

    def all_gather(self, array: Vector, *, half: bool = False) -> None:
        """Fill ``array``: each rank's part of it comes from that rank.

        Args:
            array: has this rank's part.
            half: see `reduce_scatter`.
        """
        where = [part(array.size, rank, self.size) for rank in range(self.size)]
        if halving.suits(self.size):
            halving.all_gather(self, array, where, half=half)
            return
        parts = [array[one] for one in where]
        self.send_and_receive(
            dict.fromkeys(self.others, parts[self.rank]), {rank: parts[rank] for rank in self.others}, half
        )

    def all_reduce(self, array: Vector, *, half: bool = False) -> None:
        """Replace ``array`` by the sum over all ranks, the same bytes on each; for ``half`` see `reduce_scatter`."""
        self.reduce_scatter(array, half=half)
        self.all_gather(array, half=half)

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

    def send_and_receive(self, outgoing: Mapping[int, Vector], incoming: Mapping[int, Vector], half: bool) -> None:
        """`exchange_arrays`, as they are or with 16 bits of each number; for ``half`` see `reduce_scatter`."""
        if not half:
            self.exchange_arrays(outgoing, incoming)
            return
        once = {id(array): packed(array) for array in outgoing.values()}  # all may get the same
        arrived = {rank: array_module(array).empty(array.size, "uint16") for rank, array in incoming.items()}
        self.exchange_arrays({rank: once[id(array)] for rank, array in outgoing.items()}, arrived)
        for rank, halves in arrived.items():
            unpack(halves, incoming[rank])

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
