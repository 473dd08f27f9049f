"""Counts of the emulated device: synchronisations, transfers, allocations, and calls in order."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_HERE = Path(__file__).parent
_MOVES = _HERE.parents[2] / "backend" / "arrays.py"


@dataclass
class Counts:
    """The events since the counting began.

    Attributes:
        synchronisations: how often the host waited for the device: each ``get``, each selection whose size only the
            device knows, each ``synchronize`` of a stream or the device.
        event_waits: how often the host waited for one event, as the owner of a pinned buffer does before it reuses it.
        to_device: copies from the host.
        to_host: copies to the host.
        bytes_to_device: their bytes.
        bytes_to_host: their bytes.
        allocations: blocks of device memory that were asked for.
        unordered: sums of floating-point numbers in no fixed order (``add.at`` is atomic on a device).
        where: for each synchronisation, the file and line of the caller outside this package.
        calls: functions that compute, in order, with the shapes of their results; only while `recorded`.
    """

    synchronisations: int = 0
    event_waits: int = 0
    to_device: int = 0
    to_host: int = 0
    bytes_to_device: int = 0
    bytes_to_host: int = 0
    allocations: int = 0
    unordered: int = 0
    where: Counter[str] = field(default_factory=Counter)
    calls: list[str] = field(default_factory=list)


_counts: list[Counts] = []


@contextmanager
def counting() -> Iterator[Counts]:
    """Count what happens inside the ``with`` block; blocks may be nested, and each counts for itself."""
    counts = Counts()
    _counts.append(counts)
    try:
        yield counts
    finally:
        _counts[:] = [other for other in _counts if other is not counts]


def count(name: str, amount: int = 1) -> None:
    """Add to a number of `Counts`."""
    for counts in _counts:
        setattr(counts, name, getattr(counts, name) + amount)


def synchronised() -> None:
    """Count a wait of the host for the device, and note who caused it."""
    if _counts:
        place = caller()
        for counts in _counts:
            counts.synchronisations += 1
            counts.where[place] += 1


def copied(direction: str, size: int) -> None:
    """Count a copy of ``size`` bytes ``"to_device"`` or ``"to_host"``."""
    count(direction)
    count(f"bytes_{direction}", size)


def called(name: str, shape: tuple[int, ...], dtype: object) -> None:
    """Note a call that computes on the device."""
    if _counts:
        line = f"{name} {dtype}{list(shape)}"
        for counts in _counts:
            counts.calls.append(line)


def launched(
    name: str, grid: tuple[int, int, int], block: tuple[int, int, int], arrays: list[tuple[object, tuple[int, ...]]]
) -> None:
    """Note the launch of a kernel, with its grid, its block and its arrays."""
    if _counts:
        given = ", ".join(f"{dtype}{list(shape)}" for dtype, shape in arrays)
        line = f"kernel {name} <<<{_size(grid)}, {_size(block)}>>> ({given})"
        for counts in _counts:
            counts.calls.append(line)


def multiplied(product: str) -> None:
    """Note a product of cuBLASLt."""
    for counts in _counts:
        counts.calls.append(f"cublaslt {product}")


def _size(sizes: tuple[int, int, int]) -> str:
    return "x".join(map(str, sizes[: 3 if sizes[2] > 1 else 2 if sizes[1] > 1 else 1]))


def caller() -> str:
    """``file.py:line`` of the nearest caller outside this package, and outside the functions that move arrays."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(Path(frame.f_code.co_filename)):
        frame = frame.f_back
    file = Path(frame.f_code.co_filename)
    parts = file.parts[file.parts.index("minitrain") + 1 :] if "minitrain" in file.parts else file.parts[-1:]
    return f"{'/'.join(parts)}:{frame.f_lineno}"


def _is_ours(file: Path) -> bool:
    return file.parent == _HERE or file == _MOVES
