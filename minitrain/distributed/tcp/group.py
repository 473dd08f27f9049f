"""Processes as ranks, connected by TCP: each rank has a connection to each other.

What is sent is not encrypted, so use a private network. A rank that ended is noticed at once, since its kernel closes
the connections; for one that stands still, see `minitrain.distributed.watch`.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..group import Group, Messages, PeerLost
from .lines import MEMORY, Add, Shared, Stream, offer, take
from .meeting import Meeting, Place, receive_json, send_json

_BYTES_ACKED = 120  # where ``struct tcp_info`` of linux/tcp.h has ``tcpi_bytes_acked``
_LOOK = 0.25  # seconds between two looks at ``failure``


class TcpGroup(Group):
    """A rank in its own process.

    Args:
        rank: this rank.
        size: how many ranks there are.
        root: where rank 0 listens.
        token: a secret that all ranks share.
        wait: seconds until all ranks must have come.
        patience: seconds without a byte after which a collective call gives up.

    Attributes:
        failure: what another thread knows to have gone wrong; a call that waits raises it.
        watched: whether there is such a thread.
        address: where the other ranks reach this one.

    Raises:
        PeerLost: if not all ranks come in time, or the port is in use.
    """

    def __init__(
        self, rank: int, size: int, root: Place, *, token: str, wait: float = 60.0, patience: float = 600.0
    ) -> None:
        super().__init__(rank, size)
        self.patience, self.failure, self.watched = patience, "", False
        self.address = root[0]
        self._peers: dict[int, socket.socket] = {}
        self._lines: dict[int, Stream] = {}
        if size > 1:
            try:
                Meeting(rank, size, root, token, time.monotonic() + wait, self._peers).connect_all()
                self._make_lines()
            except BaseException:
                self.close()
                raise

    def exchange(self, outgoing: Messages, incoming: Messages) -> None:
        """See the base class."""
        self._exchange(outgoing, incoming)

    def exchange_adding(self, outgoing: Messages, incoming: Messages, dtype: np.dtype[Any]) -> bool:
        """See the base class: ranks that share memory can."""
        if not all(isinstance(self._lines[rank], Shared) for rank in incoming):
            return False
        its_is_first = min(incoming) < self.rank
        self._exchange(outgoing, incoming, partial(_add, dtype=dtype, its_is_first=its_is_first))
        return True

    def _exchange(self, outgoing: Messages, incoming: Messages, add: Add | None = None) -> None:
        sending = {rank: message for rank, message in outgoing.items() if message.nbytes}
        receiving = {rank: message for rank, message in incoming.items() if message.nbytes}
        for rank in sending.keys() | receiving.keys():
            self._move(rank, 0, sending, receiving, add)
        if not sending and not receiving:
            return
        deadline = time.monotonic() + self.patience
        with selectors.DefaultSelector() as selector:
            for rank in sending.keys() | receiving.keys():
                line = self._lines[rank]
                selector.register(line.peer, line.events(rank in sending, rank in receiving), rank)
            while sending or receiving:
                ready = selector.select(_LOOK)
                if ready:
                    deadline = time.monotonic() + self.patience
                elif self.failure:  # what has arrived is read before
                    raise PeerLost(self.failure)
                elif time.monotonic() > deadline:
                    raise PeerLost(
                        f"rank {self.rank}: nothing came from or went to rank "
                        f"{' and '.join(map(str, sorted(sending.keys() | receiving.keys())))} for {self.patience:g} s"
                    )
                for key, events in ready:
                    rank, before = key.data, key.events
                    self._move(rank, events, sending, receiving, add)
                    if rank not in sending and rank not in receiving:
                        selector.unregister(key.fileobj)
                    elif (now := self._lines[rank].events(rank in sending, rank in receiving)) != before:
                        selector.modify(key.fileobj, now, rank)

    def sent(self) -> int | None:
        """Bytes sent so far: those that the other ranks' systems have acknowledged, and those through shared memory.

        ``None`` where the system does not tell.
        """
        if not hasattr(socket, "TCP_INFO"):
            return None
        infos = [peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136) for peer in self._peers.values()]
        if any(len(info) < 136 for info in infos):  # before Linux 4.1
            return None
        through_memory = sum(line.sent for line in self._lines.values() if isinstance(line, Shared))
        return through_memory + sum(int(struct.unpack_from("Q", info, _BYTES_ACKED)[0]) for info in infos)

    def close(self) -> None:
        """Close all connections."""
        for one in (self._peers | self._lines).values():  # of one that failed while it began, some have no line
            one.close()
        self._peers.clear()
        self._lines.clear()

    def _move(
        self,
        rank: int,
        events: int,
        sending: dict[int, memoryview],
        receiving: dict[int, memoryview],
        add: Add | None,
    ) -> None:
        """Send to and receive from a rank whatever goes without waiting."""
        try:
            moved = self._lines[rank].move(events, sending.get(rank), receiving.get(rank), add)
        except OSError as error:
            raise self._lost(rank) from error
        for messages, count in zip((sending, receiving), moved, strict=True):
            if count:
                messages[rank] = messages[rank][count:]
                if not messages[rank].nbytes:
                    del messages[rank]

    def _lost(self, rank: int) -> PeerLost:
        """That a rank ended; with the reason, if somebody learns it within a moment."""
        end = time.monotonic() + 1.0
        while self.watched and not self.failure and time.monotonic() < end:
            time.sleep(0.01)
        return PeerLost(self.failure or f"rank {rank} ended")

    def _make_lines(self) -> None:
        """From connections to lines. All go through them in the order of the ranks, so nobody waits in a circle."""
        memory = MEMORY // self.size >> 14 << 14  # so that all slots have whole pages
        for rank, peer in sorted(self._peers.items()):
            self.address = peer.getsockname()[0]
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self._lines[rank] = _line(peer, memory, first=self.rank < rank)
            except (OSError, ValueError) as error:
                raise PeerLost(f"rank {self.rank}: rank {rank} ended while the ranks met") from error
            peer.setblocking(False)


def _add(mine: NDArray[Any], its: NDArray[Any], *, dtype: np.dtype[Any], its_is_first: bool) -> None:
    """Add bytes that are numbers to others, in the order of the ranks."""
    own, other = mine.view(dtype), its.view(dtype)
    np.add(*((other, own) if its_is_first else (own, other)), out=own)


def _line(peer: socket.socket, memory_size: int, *, first: bool) -> Stream:
    """The way to another rank: through shared memory if both ends have the same address and can reach it."""
    if peer.getsockname()[0] != peer.getpeername()[0]:
        return Stream(peer)
    if not first:
        offered = receive_json(peer)
        memory = None if offered is None else take(offered, memory_size)
        send_json(peer, memory is not None)
        return Stream(peer) if memory is None else Shared(peer, memory, first=False)
    made = offer(memory_size)
    taken = False
    try:
        send_json(peer, None if made is None else made[1])
        taken = receive_json(peer)
    finally:
        if made is not None:
            os.close(made[1]["file"])
            if not taken:
                made[0].close()
    return Shared(peer, made[0], first=True) if made is not None and taken else Stream(peer)
