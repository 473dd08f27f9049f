"""Notices within seconds that a rank ended or stands still, and ends this one too.

A rank may work for minutes while others wait for it, so waiting proves nothing. Every rank therefore has a thread that
sends a byte to rank 0 twice a second, and rank 0 one to each. A stopped process or a cut network sends none. Whoever
hears nothing for `PATIENCE` seconds, or is told that another rank failed, notes it in ``group.failure``: a call that
waits then raises `PeerLost`, and the training ends as after any error. If the main thread does not come that far within
`GRACE` seconds, the process ends at once.

A process whose thread goes on while its main thread stands still, in a system call that never returns, is not noticed
by this. Calls of the group give up after their own patience.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from typing import Any

from .group import Group, PeerLost
from .tcp.meeting import receive_json, send_json

INTERVAL, PATIENCE, GRACE = 0.5, 5.0, 2.0
"""Seconds: between two signs of life, until a silent rank counts as lost, and from then to the end of this process."""
_ALIVE, _DONE, _FAILED = b".", b"d", b"f"
_LONGEST = 4000  # characters of a failure


class Watch:
    """Watches the ranks of a group of processes, from now until `close`.

    Args:
        group: the ranks; all make a watch at the same time. Its ``failure`` is set if another rank fails.
        address: where the others reach rank 0.
        patience: seconds of silence until a rank counts as lost.

    Raises:
        PeerLost: if the ranks cannot reach rank 0.
    """

    def __init__(self, group: Any, *, address: str = "127.0.0.1", patience: float = PATIENCE) -> None:
        self._group, self._patience = group, patience
        self._rank: int = group.rank
        self._parent = int(os.environ.get("MINITRAIN_PARENT", "0"))
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._peers = _meet(group, address)
        self._heard = dict.fromkeys(self._peers, time.monotonic())
        self._done: set[int] = set()
        self._lock = threading.Lock()
        for peer in self._peers.values():
            peer.settimeout(1.0)
        group.watched = True
        self._thread = threading.Thread(target=self._run, name="minitrain-watch", daemon=True)
        self._thread.start()

    def tell(self, reason: str) -> None:
        """Tell all ranks why this one fails."""
        reason = " ".join(reason.split())
        self._closing.set()
        self._send_all(_FAILED + json.dumps(f"rank {self._rank} failed: {reason}"[:_LONGEST]).encode() + b"\n")

    def end_after(self, error: BaseException) -> None:
        """This rank ends because another is lost; tell the others why, if they do not know."""
        if not self._group.failure:
            self._send_all(_FAILED + json.dumps(str(error)[:_LONGEST]).encode() + b"\n")
        self._closing.set()

    def close(self) -> None:
        """Say goodbye and stop watching."""
        if not self._closing.is_set():
            self._closing.set()
            self._send_all(_DONE)
        self._ended.set()
        self._thread.join(timeout=2 * INTERVAL + 1)
        for peer in self._peers.values():
            peer.close()

    def _run(self) -> None:
        last = 0.0
        with selectors.DefaultSelector() as selector:
            for rank, peer in self._peers.items():
                selector.register(peer, selectors.EVENT_READ, rank)
            while not self._ended.is_set():
                now = time.monotonic()
                if now - last > 4 * INTERVAL and last:  # this process itself was stopped, or starved
                    self._heard = dict.fromkeys(self._heard, now)
                if now - last >= INTERVAL:
                    last = now
                    self._send_all(_ALIVE)
                for key, _ in selector.select(INTERVAL / 2):
                    if not self._listen(key.data):
                        selector.unregister(key.fileobj)
                self._look_for_silence()
                if self._parent and os.getppid() != self._parent:
                    self._fail("the program that started the ranks ended")
                if self._group.failure and not self._closing.is_set():
                    return self._end_after_grace()
        return None

    def _listen(self, rank: int) -> bool:
        """Hear a rank; returns whether there may be more."""
        try:
            data = self._peers[rank].recv(1 << 16)
        except TimeoutError:
            return True
        except OSError:
            data = b""
        if rank in self._done:
            return bool(data)
        self._heard[rank] = time.monotonic()
        told = data.lstrip(_ALIVE)
        if told.startswith(_FAILED):
            self._fail(_failure_in(told, rank))
        elif told.startswith(_DONE):
            self._done.add(rank)
        elif not data:
            self._done.add(rank)
            self._fail(f"rank {rank} ended without a word: it was killed, or ran out of memory")
        return bool(data)

    def _look_for_silence(self) -> None:
        for rank, heard in self._heard.items():
            if rank not in self._done and time.monotonic() - heard > self._patience:
                self._fail(f"rank {rank} has shown no sign of life for {self._patience:g} s: it stands still")

    def _fail(self, reason: str) -> None:
        """Note it, and as rank 0 tell the others."""
        if self._closing.is_set() or self._group.failure:
            return
        self._group.failure = reason
        if self._rank == 0:
            self._send_all(_FAILED + json.dumps(reason).encode() + b"\n")

    def _end_after_grace(self) -> None:
        if not self._closing.wait(GRACE) or not self._ended.wait(GRACE):
            if self._rank == 0:
                print(f"minitrain: error: {self._group.failure}", file=sys.stderr, flush=True)
            os._exit(1)

    def _send_all(self, data: bytes) -> None:
        with self._lock:
            for rank, peer in self._peers.items():
                if rank not in self._done:
                    with contextlib.suppress(OSError):
                        peer.sendall(data)


def _meet(group: Group, address: str) -> dict[int, socket.socket]:
    """Connections to all ranks on rank 0, and to rank 0 on the others."""
    if group.size == 1:
        return {}
    if group.is_main:
        with socket.create_server((address, 0), backlog=group.size) as listener:
            token = secrets.token_hex(16)
            group.from_main([address, listener.getsockname()[1], token])
            return _accept_all(listener, token, group.size)
    host, port, token = group.from_main()
    try:
        peer = socket.create_connection((host, port), timeout=30)
        send_json(peer, {"token": token, "rank": group.rank})
    except OSError as error:
        raise PeerLost(f"rank {group.rank} cannot reach rank 0 at {host}:{port}: {error}") from error
    return {0: peer}


def _accept_all(listener: socket.socket, token: str, size: int) -> dict[int, socket.socket]:
    peers: dict[int, socket.socket] = {}
    listener.settimeout(30)
    while len(peers) < size - 1:
        try:
            peer, _ = listener.accept()
        except TimeoutError:
            raise PeerLost("rank 0: not all ranks reached it within 30 s") from None
        peer.settimeout(30)
        with contextlib.suppress(OSError, PeerLost, ValueError, KeyError, TypeError):
            hello = receive_json(peer)
            if secrets.compare_digest(str(hello["token"]), token):
                peers[int(hello["rank"])] = peer
                continue
        peer.close()
    return peers


def _failure_in(told: bytes, rank: int) -> str:
    """The reason that a rank gave."""
    try:
        return str(json.loads(told[1:].split(b"\n")[0]))
    except ValueError:
        return f"rank {rank} failed"
