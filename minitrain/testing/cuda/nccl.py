"""Stands in for ``cupy.cuda.nccl``: threads are ranks, messages are copied in host memory, and rules are enforced.

The rules are those of NCCL's user guide ("Creating a communicator", "Group calls", "Point-to-point communication",
"CUDA stream semantics", "Using NCCL with CUDA graphs"):

- A communicator begins when all its ranks have come, each with another number and another GPU.
- Buffers and the stream are on the communicator's GPU, and a count stays within its buffer.
- A message has the same count and type on both sides, and messages between two ranks keep their order.
- What is called between ``groupStart`` and ``groupEnd`` happens at the end, together. A send outside a group waits for
  its receive, so two ranks that both send first wait for ever; here until ``PATIENCE``, and then it is an error.
- A message that one side captures and the other does not is invalid. Captured messages are not replayed here.
- Nothing may be called after ``destroy`` or ``abort``.

What runs later than a message reads what arrived only if a stream orders it, as for all memory of the emulated device.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from .fake import memory, record
from .fake.streams import STREAMS, Stream, current_device

PATIENCE = 60.0
"""Seconds after which a call that waits for another rank counts as a deadlock."""
SIZES = {0: 1, 1: 1, 2: 4, 3: 4, 4: 8, 5: 8, 6: 2, 7: 4, 8: 8, 9: 2}
"""Bytes of an element, by ``ncclDataType_t``; 9 is bfloat16."""
ID_BYTES = 128
_NAMES = {3: "NCCL_ERROR_INTERNAL_ERROR", 4: "NCCL_ERROR_INVALID_ARGUMENT", 5: "NCCL_ERROR_INVALID_USAGE"}
_lock = threading.Lock()
_local = threading.local()
_cliques: dict[tuple[int, ...], Clique] = {}


class NcclError(RuntimeError):
    """The error that CuPy raises for a status that is not success.

    Args:
        status: of ``ncclResult_t``.
        message: what was wrong; the real one says less.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{_NAMES[status]}: {record.caller()}: {message}")


class Message(NamedTuple):
    """A message: bytes, their type, and whether it was captured."""

    data: bytes
    type: int
    captured: bool


class Clique:
    """The ranks of one unique id."""

    def __init__(self, size: int) -> None:
        self.size, self.members = size, dict[int, int]()  # the GPU of each rank
        self.all_here = threading.Barrier(size)
        self.messages: dict[tuple[int, int], SimpleQueue[Message]] = defaultdict(SimpleQueue)
        self.taken: dict[tuple[int, int], SimpleQueue[bool]] = defaultdict(SimpleQueue)


class Call(NamedTuple):
    """A send or a receive that its group has not made yet."""

    communicator: NcclCommunicator
    sends: bool
    address: int
    raw: np.ndarray[Any, Any]  # (nbytes,) uint8, a view of the device's memory
    block: Any
    type: int
    peer: int
    stream: Stream


class NcclCommunicator:
    """One rank of a communicator.

    Args:
        ndev: how many ranks there are.
        commId: from ``get_unique_id`` on one of them.
        rank: of this one; the current device is its GPU.
    """

    def __init__(self, ndev: int, commId: Any, rank: int) -> None:
        if type(commId) is not type(get_unique_id()):  # tuples in CuPy 13, bytes in newer ones
            raise TypeError(f"commId is a {type(commId).__name__}")
        if len(commId) != ID_BYTES:
            raise NcclError(4, f"a unique id has {ID_BYTES} bytes, got {len(commId)}")
        if not 0 <= rank < ndev:
            raise NcclError(4, f"rank {rank} of {ndev}")
        if _depth():
            raise NcclError(5, "a communicator of one rank cannot be made inside groupStart and groupEnd")
        self._rank, self._gpu, self._alive = rank, current_device(), True
        with _lock:
            clique = _cliques.setdefault(tuple(commId), Clique(ndev))
            taken = rank in clique.members or clique.size != ndev
            clique.members.setdefault(rank, self._gpu)
        if taken:
            raise NcclError(4, f"rank {rank} of {ndev} has come already, or others count differently")
        try:
            clique.all_here.wait(PATIENCE)
        except threading.BrokenBarrierError:
            raise NcclError(3, f"{len(clique.members)} of {ndev} ranks made their communicator") from None
        if len(set(clique.members.values())) != ndev:
            raise NcclError(5, f"Duplicate GPU detected: the ranks are on the GPUs {clique.members}")
        self._clique = clique

    def size(self) -> int:
        """How many ranks there are."""
        return self._clique.size

    def rank_id(self) -> int:
        """The number of this one."""
        return self._rank

    def device_id(self) -> int:
        """Its GPU."""
        return self._gpu

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        """Send ``count`` elements at an address to a rank."""
        self._call(True, sendbuf, count, datatype, peer, stream)

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        """Receive ``count`` elements from a rank."""
        self._call(False, recvbuf, count, datatype, peer, stream)

    def abort(self) -> None:
        """End it, whatever is under way."""
        self._alive = False

    def destroy(self) -> None:
        """End it."""
        if _depth():
            raise NcclError(5, "destroy inside groupStart and groupEnd")
        self._alive = False

    def _call(self, sends: bool, address: int, count: int, datatype: int, peer: int, stream: int) -> None:
        if not self._alive:
            raise NcclError(4, "the communicator was destroyed or aborted")
        if not 0 <= peer < self._clique.size:
            raise NcclError(4, f"there is no rank {peer} among {self._clique.size}")
        if datatype not in SIZES:
            raise NcclError(4, f"there is no type {datatype}")
        at = STREAMS.get(stream)
        if at is None or (at.ptr and at.device_id != self._gpu) or (not at.ptr and current_device() != self._gpu):
            raise NcclError(4, f"the stream is not on the communicator's GPU, {self._gpu}")
        block, nbytes = memory.holding(address), count * SIZES[datatype]
        if block is None or block.device_id != self._gpu:
            raise NcclError(4, f"the buffer is not on the communicator's GPU, {self._gpu}")
        start = address - block.ptr
        if start + nbytes > block.size:
            raise NcclError(4, f"{count} elements of type {datatype} are longer than the buffer")
        if address % SIZES[datatype]:
            raise NcclError(4, "the buffer is not aligned to its elements")
        _waiting().append(Call(self, sends, address, block.raw[start : start + nbytes], block, datatype, peer, at))
        if not _depth():
            _run()


def get_unique_id() -> tuple[int, ...]:
    """A new id, as CuPy gives it: ``char``s, which may be negative."""
    return tuple(int(x) for x in np.random.default_rng().integers(-128, 128, ID_BYTES))


def get_version() -> int:
    """Of the library that it stands for: 2.28.3."""
    return 22803


def groupStart() -> None:
    """From now on calls wait for ``groupEnd``."""
    _local.depth = _depth() + 1


def groupEnd() -> None:
    """Make the calls since ``groupStart``."""
    if not _depth():
        raise NcclError(5, "groupEnd without groupStart")
    _local.depth -= 1
    if not _local.depth:
        _run()


def reset() -> None:
    """Begin anew: no communicator, no group under way."""
    _cliques.clear()
    _local.depth, _local.calls = 0, []


def _depth() -> int:
    return getattr(_local, "depth", 0)


def _waiting() -> list[Call]:
    if not hasattr(_local, "calls"):
        _local.calls = []
    found: list[Call] = _local.calls
    return found


def _run() -> None:
    """Make all calls of a group: first every send and receive begins, then each must end."""
    calls, _local.calls = _waiting(), []
    for stream in {call.stream.ptr: call.stream for call in calls}.values():
        number = stream.work()  # one piece of work on each stream
        for call in calls:
            note = call.block.marks.read if call.sends else call.block.marks.write
            note(stream, number, (call.address, call.address + call.raw.size))
    for call in calls:
        if call.sends:
            clique, pair = call.communicator._clique, (call.communicator._rank, call.peer)
            clique.messages[pair].put(Message(call.raw.tobytes(), call.type, call.stream.is_capturing()))
    for call in calls:
        if not call.sends:
            _receive(call)
    for call in calls:
        if call.sends:
            clique, pair = call.communicator._clique, (call.communicator._rank, call.peer)
            try:
                clique.taken[pair].get(timeout=PATIENCE)
            except Empty:
                raise NcclError(
                    3, f"deadlock: rank {pair[0]} sends to rank {pair[1]}, which receives nothing"
                ) from None
    if any(call.stream.is_capturing() for call in calls):
        raise NcclError(5, "messages in a captured graph are not replayed by the emulated device")


def _receive(call: Call) -> None:
    clique, pair = call.communicator._clique, (call.peer, call.communicator._rank)
    try:
        message = clique.messages[pair].get(timeout=PATIENCE)
    except Empty:
        raise NcclError(3, f"deadlock: rank {pair[1]} receives from rank {pair[0]}, which sends nothing") from None
    clique.taken[pair].put(True)
    if message.captured is not call.stream.is_capturing():
        raise NcclError(5, "one side captures the message in a graph, and the other does not")
    if (len(message.data), message.type) != (call.raw.size, call.type):
        raise NcclError(
            4,
            f"rank {pair[0]} sends {len(message.data)} bytes of type {message.type}, and rank {pair[1]} receives "
            f"{call.raw.size} of type {call.type}",
        )
    call.raw[...] = np.frombuffer(message.data, np.uint8)
