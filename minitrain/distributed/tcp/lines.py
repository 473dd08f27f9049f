"""How bytes go from one process to another: through a socket, or through memory that both processes see.

Two ranks on one machine share memory, and the socket between them only rings: one byte says that a piece lies in a slot
of the memory, another that a slot is free again. So nothing spins, a process that ended is noticed as before, and a
byte is copied twice, within the cache, where a socket copies it through buffers of the kernel.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import selectors
import socket
from collections.abc import Callable
from typing import Any

import numpy as np

SLOTS = 2
"""Slots in each direction: one is filled while the other is read."""
MEMORY = 1 << 23
"""Bytes that a rank shares with all others of a pair: large slots need few rings, and all should stay in the cache."""
_CHUNK = 1 << 20
_FILLED, _FREED = b"d", b"f"
Add = Callable[[Any, Any], object]


class Stream:
    """A connection that sends bytes through its socket.

    Args:
        peer: the socket, which does not block.
    """

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer

    def events(self, sending: bool, receiving: bool) -> int:
        """The events to wait for while there is something to send or to receive."""
        return (selectors.EVENT_WRITE if sending else 0) | (selectors.EVENT_READ if receiving else 0)

    def move(
        self, events: int, outgoing: memoryview | None, incoming: memoryview | None, add: Add | None = None
    ) -> tuple[int, int]:
        """Send and receive what goes without waiting.

        Args:
            events: what has happened; 0 before the first wait.
            outgoing: what is left to send.
            incoming: what is left to fill.
            add: adds what has come to what is there, in place of a copy: called with both, as bytes. Only `Shared` can.

        Returns:
            How many bytes were sent and received.

        Raises:
            OSError: if the other end is closed.
        """
        assert add is None
        sent = received = 0
        with contextlib.suppress(BlockingIOError):
            if events & selectors.EVENT_READ and incoming is not None:
                received = self.peer.recv_into(incoming)
                if not received:
                    raise ConnectionResetError
            if events & selectors.EVENT_WRITE and outgoing is not None:
                sent = self.peer.send(outgoing[:_CHUNK])
        return sent, received

    def close(self) -> None:
        """Close the connection."""
        self.peer.close()


class Shared(Stream):
    """A connection through memory that both ends see; its socket rings.

    Args:
        peer: the socket, which does not block.
        memory: two times `SLOTS` slots of equal size, those of the first end and those of the second.
        first: whether this is the first end.

    Attributes:
        sent: bytes that went through the memory to the other end so far.
    """

    def __init__(self, peer: socket.socket, memory: mmap.mmap, first: bool) -> None:
        super().__init__(peer)
        slots = np.frombuffer(memory, np.uint8).reshape(2, SLOTS, -1)
        self._size = slots.shape[2]
        self._mine, self._its = (slots[0], slots[1]) if first else (slots[1], slots[0])
        self._free, self._filled = SLOTS, 0  # slots of mine, and of the other end
        self._next_mine = self._next_its = self.sent = 0

    def events(self, sending: bool, receiving: bool) -> int:
        """A ring."""
        return selectors.EVENT_READ

    def move(
        self, events: int, outgoing: memoryview | None, incoming: memoryview | None, add: Add | None = None
    ) -> tuple[int, int]:
        """See the base class."""
        if events & selectors.EVENT_READ:
            with contextlib.suppress(BlockingIOError):
                rings = self.peer.recv(4 * SLOTS)
                if not rings:
                    raise ConnectionResetError
                self._free += rings.count(_FREED)
                self._filled += rings.count(_FILLED)
        sent = received = 0
        while True:
            ring = b""
            if outgoing is not None and self._free and sent < outgoing.nbytes:
                part = outgoing[sent : sent + self._size]
                np.copyto(self._mine[self._next_mine, : part.nbytes], np.frombuffer(part, np.uint8))
                self._next_mine, self._free = (self._next_mine + 1) % SLOTS, self._free - 1
                sent, ring = sent + part.nbytes, _FILLED
                self.sent += part.nbytes
            if incoming is not None and self._filled and received < incoming.nbytes:
                part = incoming[received : received + self._size]
                (add or np.copyto)(np.frombuffer(part, np.uint8), self._its[self._next_its, : part.nbytes])
                self._next_its, self._filled = (self._next_its + 1) % SLOTS, self._filled - 1
                received, ring = received + part.nbytes, ring + _FREED
            if not ring:
                return sent, received
            # It never blocks: few rings are under way. An end that has all it needs may be gone: reading tells.
            with contextlib.suppress(OSError):
                self.peer.send(ring)

    def close(self) -> None:
        """Close the connection. Rings that nobody has read would turn its end into an error at the other one."""
        with contextlib.suppress(OSError):
            self.peer.recv(1 << 10)
        self.peer.close()


def offer(size: int) -> tuple[mmap.mmap, dict[str, Any]] | None:
    """Memory for a `Shared`, and what the other end needs to find it; ``None`` where the system has none such.

    The memory has no name in any folder, so nothing is left behind however the processes end.

    Args:
        size: bytes of it, a multiple of the page size.
    """
    try:
        file = os.memfd_create("minitrain")
    except (AttributeError, OSError):
        return None
    try:
        os.posix_fallocate(file, 0, size)  # a limit of memory is an error here, and a signal later
        memory, secret = mmap.mmap(file, size), secrets.token_bytes(16)
    except OSError:
        os.close(file)
        return None
    memory[:16] = secret
    return memory, {"process": os.getpid(), "file": file, "secret": secret.hex()}


def take(offered: Any, size: int) -> mmap.mmap | None:
    """The memory that `offer` of another process describes; ``None`` if it cannot be reached from here."""
    try:
        # In another container this may be another process: hence the secret, and no wait for whatever it has open.
        file = os.open(f"/proc/{int(offered['process'])}/fd/{int(offered['file'])}", os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if os.fstat(file).st_size != size:
            return None
        memory = mmap.mmap(file, size)
    except OSError:
        return None
    finally:
        os.close(file)  # the mapping stays
    return memory if memory[:16].hex() == offered["secret"] else None
