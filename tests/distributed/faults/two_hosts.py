"""Two network namespaces as two hosts, and a bad network between them.

Linux's own bad network, ``tc netem``, is a kernel module that is often missing. So each namespace gets a TUN device,
and a program carries packets from one to the other: late, not all of them, or none. Above it is the TCP of the kernel,
which sends again what got lost. Namespaces and TUN devices need root.

``python -m tests.distributed.faults.two_hosts A B DELAY LOSS SWITCH`` is that program; while the file SWITCH exists, no
packet passes.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ADDRESSES = ("10.213.77.1", "10.213.77.2")
_IFF_TUN, _IFF_NO_PI, _TUNSETIFF, _CLONE_NEWNET = 0x0001, 0x1000, 0x400454CA, 0x40000000
_LONGEST = 65536


class Hosts(NamedTuple):
    """Two namespaces.

    Attributes:
        names: of both.
        switch: while this file exists, the network is cut.
    """

    names: tuple[str, str]
    switch: Path

    def on(self, host: int) -> list[str]:
        """What stands before a command that is to run on host 0 or 1."""
        return ["ip", "netns", "exec", self.names[host]]

    def cut(self) -> None:
        self.switch.touch()

    def mend(self) -> None:
        self.switch.unlink()


@contextlib.contextmanager
def two_hosts(folder: Path, *, delay: float = 0.0, loss: float = 0.0) -> Iterator[Hosts]:
    """Within the ``with`` block there are two hosts.

    Args:
        folder: for the switch.
        delay: seconds that a packet takes from one to the other.
        loss: share of packets that are lost.

    Raises:
        OSError: if this process may not make namespaces, or there is no ``ip``.
        subprocess.CalledProcessError: the same, from ``ip``.
    """
    names = (f"minitrain-{os.getpid()}-a", f"minitrain-{os.getpid()}-b")
    hosts = Hosts(names, folder / "cut")
    try:
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("netns", "add", name)
            for command in (
                "link set lo up",
                "tuntap add dev wire mode tun",
                f"addr add {address}/24 dev wire",
                "link set wire up",
            ):
                _ip("-n", name, *command.split())
        carrier = subprocess.Popen(
            [sys.executable, "-m", "tests.distributed.faults.two_hosts", *names, str(delay), str(loss), hosts.switch],
            cwd=Path(__file__).parents[3],
        )
        try:
            yield hosts
        finally:
            carrier.kill()
            carrier.wait()
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _tun(namespace: str) -> int:
    """A descriptor of the TUN device of a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as place:
        if libc.setns(place.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
    os.set_blocking(device, False)
    return device


def carry(devices: tuple[int, int], delay: float, loss: float, switch: Path) -> None:
    """Carry packets for ever."""
    chance, line = random.Random(0), collections.deque[tuple[float, int, bytes]]()
    looked, cut = 0.0, False
    while True:
        now = time.monotonic()
        if now - looked > 0.02:
            looked, cut = now, switch.exists()
        while line and line[0][0] <= now:
            _, to, packet = line.popleft()
            with contextlib.suppress(OSError):
                os.write(to, packet)
        wait = max(0.0, line[0][0] - now) if line else 0.02
        for device in select.select(devices, [], [], min(wait, 0.02))[0]:
            with contextlib.suppress(BlockingIOError):
                packet = os.read(device, _LONGEST)
                if not cut and chance.random() >= loss:
                    to = devices[0] if device == devices[1] else devices[1]
                    line.append((time.monotonic() + delay, to, packet))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one, other, late, lost, file = sys.argv[1:]
    carry((_tun(one), _tun(other)), float(late), float(lost), Path(file))
