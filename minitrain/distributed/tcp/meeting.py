"""How ranks find each other by TCP.

Rank 0 listens at a place that all know. The others come there, say where they listen themselves, and hear where all the
others do. Whoever does not know the group's token is turned away.
"""

from __future__ import annotations

import hmac
import json
import socket
import struct
import time
from typing import Any

from ..group import PeerLost

Place = tuple[str, int]
"""Host and port."""
GREETING = 20.0
"""Seconds within which rank 0 must greet a rank that has come; whoever comes has half of it to say who it is."""
_WELCOME = "minitrain"
LONGEST = 1 << 20
"""Bytes of a greeting."""


class Meeting:
    """The ranks of a group come together, seen from one of them.

    Args:
        rank: this rank.
        size: how many ranks there are.
        root: where rank 0 listens.
        token: a secret that all ranks share.
        deadline: until when all must have come, by the clock of ``time.monotonic``.
        peers: gets a connection to each other rank. Whoever gave it closes them, also after an error.

    Raises:
        PeerLost: from `connect_all`, if not all ranks come in time, or the port is in use.
    """

    def __init__(
        self, rank: int, size: int, root: Place, token: str, deadline: float, peers: dict[int, socket.socket]
    ) -> None:
        self.rank, self.size, self.peers = rank, size, peers
        self._root, self._token, self._deadline = root, token, deadline

    def connect_all(self) -> None:
        """Connect with all other ranks."""
        root = self._root
        local = root[0] in ("localhost", "127.0.0.1")
        here = ("127.0.0.1" if local else "", root[1]) if self.rank == 0 else (own_address(root), 0)
        with _listen(here, self.size) as listener:
            mine = [here[0], listener.getsockname()[1]]
            places = {str(self.rank): mine}
            if self.rank == 0:
                while len(self.peers) < self.size - 1:
                    rank, place = self._accept(listener)
                    send_json(self.peers[rank], _WELCOME)
                    places[str(rank)] = place
                for peer in self.peers.values():
                    send_json(peer, places)
            else:
                self.peers[0] = self._connect(root, mine)
                self._require_welcome()
                places = self._places()
                for rank in range(1, self.rank):
                    host, port = places[str(rank)]
                    self.peers[rank] = self._connect((host, port), mine)
                while len(self.peers) < self.size - 1:
                    self._accept(listener)

    def _require_welcome(self) -> None:
        """Make sure that it is rank 0 who listens there: it greets at once, though other ranks may come much later."""
        peer, (host, port) = self.peers[0], self._root
        peer.settimeout(max(0.01, min(GREETING, self._deadline - time.monotonic())))
        try:
            found = receive_json(peer)
        except (PeerLost, ConnectionError) as error:
            raise PeerLost(
                f"rank {self.rank}: the connection to {host}:{port} ended while the ranks met: rank 0 ended, or "
                "has another MINITRAIN_TOKEN, or something else uses this port"
            ) from error
        except (OSError, ValueError):
            found = None
        if found != _WELCOME:
            raise PeerLost(
                f"rank {self.rank}: what listens at {host}:{port} is no rank of this training: choose a free "
                "port, MINITRAIN_ROOT=HOST:PORT"
            )
        peer.settimeout(max(0.01, self._deadline - time.monotonic()))

    def _places(self) -> dict[str, Any]:
        """Where each rank listens; rank 0 says so when all have come."""
        try:
            return dict(receive_json(self.peers[0]))
        except (OSError, PeerLost, ValueError) as error:
            raise PeerLost(
                f"rank {self.rank}: rank 0 ended, or did not say in time where the others are: some may not have come"
            ) from error

    def _accept(self, listener: socket.socket) -> tuple[int, list[Any]]:
        """The next rank that comes, and where it listens. Whoever is not of this group is turned away."""
        while True:
            listener.settimeout(max(0.01, self._deadline - time.monotonic()))
            try:
                peer, _ = listener.accept()
            except TimeoutError:
                missing = [str(rank) for rank in range(self.rank + 1, self.size) if rank not in self.peers]
                raise PeerLost(f"rank {self.rank}: rank {' and '.join(missing)} did not come in time") from None
            # A stranger who says nothing does not keep the others waiting until the end.
            peer.settimeout(max(0.01, min(GREETING / 2, self._deadline - time.monotonic())))
            try:
                hello = receive_json(peer)
                known = hmac.compare_digest(str(hello["token"]).encode(), self._token.encode())
                rank, place = int(hello["rank"]), list(hello["place"])
            except (OSError, PeerLost, ValueError, KeyError, TypeError):
                known = False
            if known and rank in range(self.rank + 1, self.size) and rank not in self.peers:
                self.peers[rank] = peer
                peer.settimeout(max(0.01, self._deadline - time.monotonic()))
                return rank, place
            peer.close()
            if known:  # so it is no stranger
                raise PeerLost(
                    f"rank {self.rank}: a process came as rank {rank} of {self.size}, which is here already or is none "
                    "of those: give each process a MINITRAIN_RANK of its own"
                )

    def _connect(self, place: Place, mine: list[Any]) -> socket.socket:
        """A connection to the rank that listens at ``place``; it may not have begun to listen."""
        while True:
            try:
                peer = socket.create_connection(place, timeout=max(0.01, self._deadline - time.monotonic()))
                break
            except OSError as error:
                if time.monotonic() > self._deadline:
                    raise PeerLost(
                        f"rank {self.rank}: no rank of this training listens at {place[0]}:{place[1]} ({error})"
                    ) from error
                time.sleep(0.05)
        peer.settimeout(max(0.01, self._deadline - time.monotonic()))
        send_json(peer, {"token": self._token, "rank": self.rank, "place": mine})
        return peer


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def send_json(peer: socket.socket, value: Any) -> None:
    """Send a value with its length before it."""
    data = json.dumps(value).encode()
    peer.sendall(struct.pack("<I", len(data)) + data)


def receive_json(peer: socket.socket) -> Any:
    """Receive a value that `send_json` sent.

    Raises:
        PeerLost: if the connection ends before.
        ValueError: if it is longer than a greeting can be, or no JSON.
    """
    (length,) = struct.unpack("<I", _receive(peer, 4))
    if length > LONGEST:
        raise ValueError("too long for a greeting")
    return json.loads(_receive(peer, length))


def _receive(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            raise PeerLost("the connection ended while the ranks met")
        data += more
    return data


def _listen(place: Place, ranks: int) -> socket.socket:
    try:
        return socket.create_server(place, backlog=ranks)
    except OSError as error:
        raise PeerLost(
            f"cannot listen at {place[0]}:{place[1]} ({error.strerror or error}): choose a free port, "
            "MINITRAIN_ROOT=HOST:PORT"
        ) from error


def own_address(root: Place) -> str:
    """The address of this machine in the network of ``root``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing
        try:
            probe.connect(root)
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
