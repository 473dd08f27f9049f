"""Checks of values that only a GPU knows: what is wrong is told with the next transfer, not with a wait in each call.

On a CPU an operation looks at its ids and raises an error at once. On a GPU that would stop the host in every call. So
the GPU keeps the largest value that each check has seen, in a small array of its own, and whoever moves data to the
host anyway (`to_numpy`, `to_number`) looks there too. The error names the same function and argument, but not the
place in the array. Until then nothing is read out of bounds: CuPy wraps indices around.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

CHECKS = 256
"""Most checks that a device remembers apart; with more, the oldest of them are looked at early, which waits once."""


class DeferredChecks:
    """The checks of one device.

    Args:
        xp: the array library.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.worst = xp.full((CHECKS,), -(1 << 62), dtype=xp.int64)  # on the device
        self.errors: dict[Hashable, tuple[int, int, Callable[[int], Exception]]] = {}  # slot, limit, error
        self.pending = False

    def slot(self, key: Hashable, limit: int, error: Callable[[int], Exception]) -> Any:
        """Where the largest value of a check is kept; see `slot`."""
        known = self.errors.get(key)
        if known is None:
            if len(self.errors) == CHECKS:
                self.settle()
                self.errors.clear()
                self.worst.fill(-(1 << 62))
            known = self.errors[key] = (len(self.errors), limit, error)
        self.pending = True
        return self.worst[known[0] :][:1]  # a view, (1,)

    def settle(self) -> None:
        """Look at all values, and raise the error of the first that is above its limit; it is forgotten then."""
        if not self.pending:
            return
        self.pending = False
        seen = self.worst.get()
        for slot, limit, error in self.errors.values():
            if (value := int(seen[slot])) > limit:
                self.worst[slot] = -(1 << 62)
                self.pending = True  # there may be others
                raise error(value)


_devices: dict[tuple[int, int], DeferredChecks] = {}  # by library and device


def watch(xp: Any, key: Hashable, value: Any, limit: int, error: Callable[[int], Exception]) -> None:
    """Raise an error at the next transfer to the host if ``value`` is above ``limit``.

    Args:
        xp: CuPy.
        key: names the check: a function, an argument, and what ``limit`` depends on.
        value: () integer on the device.
        limit: the largest valid value.
        error: makes the error from the largest value that was seen.
    """
    largest = slot(xp, key, limit, error)
    xp.maximum(largest, value, out=largest)


def slot(xp: Any, key: Hashable, limit: int, error: Callable[[int], Exception]) -> Any:
    """Where the GPU keeps the largest value that a check has seen, for a kernel that compares itself; see `watch`.

    Returns:
        (1,) int64 on the current GPU, far below zero at first.
    """
    place = (id(xp), int(xp.cuda.runtime.getDevice()))
    checks = _devices.get(place)
    if checks is None:
        checks = _devices[place] = DeferredChecks(xp)
    return checks.slot(key, limit, error)


def expect(xp: Any) -> None:
    """A graph was launched on the current device, and checks that were captured in it may have seen something."""
    checks = _devices.get((id(xp), int(xp.cuda.runtime.getDevice())))
    if checks is not None:
        checks.pending = True


def settle(gpu: int) -> None:
    """Raise the error of a check that failed on a GPU since the last call, if one did. The host waits for that GPU.

    Args:
        gpu: its number. The others may belong to other threads.

    Raises:
        Exception: what the check would have raised on a CPU, without the place in the array.
    """
    for (_, number), checks in tuple(_devices.items()):  # other threads may add theirs
        if number == gpu:
            checks.settle()


def forget() -> None:
    """Drop all checks: the device is gone."""
    _devices.clear()
