"""Memory for a step that is captured in a graph: every array lies at the same address in every run.

A graph repeats addresses. So the memory of a captured step may neither move nor be given to others, and CuPy's pool
promises neither. Here a step runs once while its allocations are *recorded*: their sizes, and which of them live at the
same time. That gives a *plan*, an offset for each allocation in one block of memory, the arena. From then on the
n-th allocation of a step gets the n-th place. An allocation that was not there in the recorded run is an error that
names the line of code, and so is memory that is still in use though it was free then.

The plan places large arrays first, each at the lowest offset where nothing else is while it lives: "greedy by size" of
Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020, arXiv:2001.03288. So arrays that are
never alive together share memory, which a list of free blocks by size does not reach.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DeviceError

ALIGNMENT = 512
"""Bytes: what CuPy's pool aligns to."""
_HERE = Path(__file__)


@dataclass
class Life:
    """One allocation of the recorded run: its bytes, from which event to which it lives, and the line that made it."""

    nbytes: int
    begin: int
    end: int | None  # None: it outlives the run
    place: str
    offset: int = 0


class Arena:
    """The memory of one step.

    Args:
        xp: CuPy.

    Attributes:
        lives: the allocations of the recorded run, in order.
        nbytes: bytes of the arena; 0 before there is a plan.
        total: bytes that all allocations together would take without sharing.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._base = xp.get_default_memory_pool().malloc
        self.lives: list[Life] = []
        self.nbytes = self.total = 0
        self._memory: Any = None
        self._planned = False
        self._events = self._next = 0
        self._held: dict[int, str] = {}  # allocations that are alive, by number

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a step inside the ``with`` block: the first time its allocations are recorded, then they are served.

        Automatic garbage collection waits meanwhile: it would free arrays at other moments than in the recorded run.

        Raises:
            DeviceError: if the step allocates less than in the recorded run, or otherwise (from inside the block).
        """
        self._next = 0
        collects = gc.isenabled()
        gc.disable()
        try:
            if self._planned:
                self.reserve()
            with self._xp.cuda.using_allocator(self._serve if self._planned else self._record):
                yield
        finally:
            if collects:
                gc.enable()
        if not self._planned:
            self._plan()
        elif self._next != len(self.lives):
            raise DeviceError(
                f"the step made {self._next} arrays, and {len(self.lives)} in the run that was recorded: a captured "
                "step must do the same each time"
            )

    def reserve(self) -> None:
        """Get the memory for the steps that come, once there is a plan. It may not be had during a capture."""
        if self._memory is None:
            self._memory = self._base(max(self.nbytes, 1))

    def held(self) -> list[int]:
        """The numbers of the allocations that are still alive."""
        return sorted(self._held)

    def addresses(self) -> list[int]:
        """The address of each allocation, in order."""
        self.reserve()
        return [self._memory.ptr + life.offset for life in self.lives]

    def _record(self, nbytes: int) -> Any:
        if nbytes == 0:
            return self._base(0)
        number, self._next = self._next, self._next + 1
        memory = self._base(nbytes)
        self.lives.append(Life(_rounded(nbytes), self._events, None, _caller()))
        self._events += 1
        self._held[number] = self.lives[-1].place
        return self._pointer(memory.ptr, nbytes, _Owner(self, number, False, memory), memory)

    def _serve(self, nbytes: int) -> Any:
        if nbytes == 0:
            return self._base(0)
        number, self._next = self._next, self._next + 1
        if number >= len(self.lives) or self.lives[number].nbytes != _rounded(nbytes):
            was = (
                f"{self.lives[number].nbytes} bytes at {self.lives[number].place}"
                if number < len(self.lives)
                else "none"
            )
            raise DeviceError(
                f"{_caller()} makes an array of {nbytes} bytes (such as float32 of shape ({nbytes // 4},)) that was "
                f"not there in the recorded run: allocation {number + 1} was {was}. A captured step must have the same "
                "shapes and take the same branches each time"
            )
        life = self.lives[number]
        for other, place in self._held.items():
            there = self.lives[other]
            if life.offset < there.offset + there.nbytes and there.offset < life.offset + life.nbytes:
                raise DeviceError(
                    f"{_caller()}: the array made at {place} is still alive, and was gone at this point of the "
                    "recorded run: drop what an earlier step returned before the next one, and keep none of it"
                )
        self._held[number] = _caller()
        owner = _Owner(self, number, True, self._memory)
        return self._pointer(self._memory.ptr + life.offset, nbytes, owner, self._memory)

    def _pointer(self, address: int, nbytes: int, owner: _Owner, memory: Any) -> Any:
        cuda = self._xp.cuda
        return cuda.MemoryPointer(cuda.UnownedMemory(address, nbytes, owner, memory.device_id), 0)

    def _plan(self) -> None:
        """Find an offset for each allocation, and get the arena."""
        self.total = sum(life.nbytes for life in self.lives)
        self.nbytes = place_lives(self.lives)
        self._planned = True
        self._held.clear()

    def _freed(self, number: int, planned: bool) -> None:
        if planned:
            self._held.pop(number, None)
        elif not self._planned:
            self.lives[number].end = self._events
            self._held.pop(number, None)


class _Owner:
    """Lives as long as the array of an allocation."""

    __slots__ = ("_arena", "_memory", "_number", "_planned")

    def __init__(self, arena: Arena, number: int, planned: bool, memory: Any) -> None:
        self._arena, self._number, self._planned, self._memory = arena, number, planned, memory

    def __del__(self) -> None:
        self._arena._freed(self._number, self._planned)


def place_lives(lives: list[Life]) -> int:
    """Set the offset of each allocation so that those alive together do not overlap; the bytes that this takes."""
    placed: list[Life] = []
    for life in sorted(lives, key=lambda life: -life.nbytes):
        offset = 0
        for other in placed:  # by offset
            if not _alive_together(life, other):
                continue
            if offset + life.nbytes <= other.offset:
                break
            offset = max(offset, other.offset + other.nbytes)
        life.offset = offset
        placed.append(life)
        placed.sort(key=lambda life: life.offset)
    return max((life.offset + life.nbytes for life in lives), default=0)


def _alive_together(one: Life, other: Life) -> bool:
    return (one.end is None or other.begin < one.end) and (other.end is None or one.begin < other.end)


def _rounded(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _caller() -> str:
    """``file.py:line`` of the nearest caller in minitrain's operations or outside of it, not in an array library."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_plumbing(Path(frame.f_code.co_filename)):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _is_plumbing(file: Path) -> bool:
    return file == _HERE or "cupy" in file.parts or "fake" in file.parts
