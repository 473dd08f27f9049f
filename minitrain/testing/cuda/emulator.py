"""A launcher that runs kernels on the CPU and looks for their mistakes.

The threads of a block are fibres that run until they must wait for each other, blocks run one after another. A kernel
runs once for each *schedule*, an order of threads and a moment for asynchronous copies. All runs must leave the same
bytes: a kernel whose result depends on the schedule lacks a barrier or a wait, or adds floats with atomics.

It also finds accesses outside arrays, addresses that do not fit a vector load, shared memory that is read before it is
written (it holds NaN), deadlocks, lanes that wait in different operations, and ints that overflow. It does not find
what only real concurrency shows (the build with ThreadSanitizer finds most of that), mistakes in ``ptx.cuh``, and
slowness.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ...backend.arrays import is_array
from ...backend.cuda.launch import address_of, byte_range, set_launcher
from ...backend.cuda.source import Declaration, SourceFile
from ...errors import MinitrainError
from .build import build, line_of
from .guards import Guarded, Range

ORDERS = ("forward", "backward", "random", "round_robin")
SMALLEST_SHARED = 99 * 1024  # bytes of a block on sm_120, the least of the devices that kernels are compiled for


class EmulatorError(MinitrainError, RuntimeError):
    """A kernel did what it must not; the message says what, where and in which thread."""


class Schedule(NamedTuple):
    """An order of threads, and when asynchronous copies are done."""

    order: str  # one of ORDERS
    late_copies: bool  # at the wait for them, not when they are issued
    seed: int = 0  # of the random order

    def __str__(self) -> str:
        return f"{self.order} order, {'late' if self.late_copies else 'early'} copies"


TWO_SCHEDULES = (Schedule("forward", True), Schedule("backward", False))
ALL_SCHEDULES = tuple(Schedule(order, late, 1) for order in ORDERS for late in (True, False))


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("seed", ctypes.c_uint),
        ("order", ctypes.c_int),
        ("late", ctypes.c_int),
    )


class Statistics(ctypes.Structure):
    """Counts of the latest run of a kernel."""

    _fields_ = (
        ("switches", ctypes.c_uint64),
        ("barriers", ctypes.c_uint64),
        ("warp_operations", ctypes.c_uint64),
        ("ldmatrix", ctypes.c_uint64),
        ("ldmatrix_conflicts", ctypes.c_uint64),
    )


class Emulator:
    """Runs launches on the CPU, on host memory.

    Args:
        schedules: how to run each launch; all must give the same bytes.
        guard: whether kernels work on guarded copies of their arrays. Without, they work on the arrays themselves, with
            one schedule.
        sanitizer: ``"thread"`` or ``"address"``, for a build with that sanitizer; implies no guard.
        shared: bytes of shared memory of a block.
        extra: further flags for g++.

    Attributes:
        statistics: counts of the latest launch.
        changed: the arguments whose memory the latest launch has changed, by name; unknown without guards.
    """

    takes_host_arrays = True

    def __init__(
        self,
        schedules: Sequence[Schedule] = TWO_SCHEDULES,
        *,
        guard: bool = True,
        sanitizer: str | None = None,
        shared: int = SMALLEST_SHARED,
        extra: tuple[str, ...] = (),
    ) -> None:
        self.guard = guard and sanitizer is None
        self.schedules = tuple(schedules) if self.guard else tuple(schedules)[:1]
        self.sanitizer, self._shared, self.extra = sanitizer, shared, extra
        self.statistics, self.changed = Statistics(), set[str]()
        self._libraries: dict[tuple[SourceFile, int], tuple[ctypes.CDLL, Path]] = {}

    def shared_memory_limit(self) -> int:
        """See ``Launcher``."""
        return self._shared

    def library(self, source: SourceFile) -> tuple[ctypes.CDLL, Path]:
        """The loaded library of a source, compiled if need be."""
        key = source, len(source.kernels)
        if key not in self._libraries:
            path = self.build(source)
            library = ctypes.CDLL(str(path))
            library.emu_statistics.restype = ctypes.POINTER(Statistics)
            library.emu_fault.restype = ctypes.POINTER(ctypes.c_size_t)
            self._libraries[key] = library, path
        return self._libraries[key]

    def build(self, source: SourceFile) -> Path:
        """Compile a source, if that was not done before."""
        return build(source, self.sanitizer, self.extra)

    def launch(
        self,
        kernel: Declaration,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Any],
        shared: int,
    ) -> None:
        """See ``Launcher.launch``.

        Raises:
            EmulatorError: if the kernel makes a mistake that can be seen, or its result depends on the schedule.
        """
        run = _Run(self, kernel, arguments)
        try:
            with _one_at_a_time:
                results = []
                for number, schedule in enumerate(self.schedules):
                    run.once(grid, block, shared, schedule, number)
                    results.append(run.contents())
                    if results[-1] != results[0]:
                        raise EmulatorError(
                            f"{kernel.name}: the result depends on the order of threads: {self.schedules[0]} and "
                            f"{schedule} leave different bytes in {run.differing(results[0], results[-1])}"
                        )
                self.changed = run.deliver()
        finally:
            run.release()


_one_at_a_time = threading.Lock()


class _Run:
    """The arguments of one launch, and its runs."""

    def __init__(self, emulator: Emulator, kernel: Declaration, arguments: Sequence[Any]) -> None:
        self.emulator, self.kernel, self.arguments = emulator, kernel, arguments
        self.library, self.path = emulator.library(kernel.source)
        self.ranges = {
            parameter.name: Range(*byte_range(x))
            for parameter, x in zip(kernel.parameters, arguments, strict=True)
            if is_array(x)
        }
        self.guarded = Guarded(self.ranges.values()) if emulator.guard else None

    def place(self, x: Any) -> int | None:
        """The address of an array that the kernel gets."""
        if x is None or self.guarded is None:
            return None if x is None else address_of(x)
        return self.guarded.address(address_of(x))

    def once(
        self, grid: tuple[int, int, int], block: tuple[int, int, int], shared: int, schedule: Schedule, number: int
    ) -> None:
        if self.guarded:
            self.guarded.fill(number)
        values = [
            ctypes.c_void_p(self.place(x)) if parameter.is_array else parameter.type.ctype(x)
            for parameter, x in zip(self.kernel.parameters, self.arguments, strict=True)
        ]
        index = self.kernel.source.kernels.index(self.kernel)
        function = self.library[f"emu_launch_{index}"]
        function.restype = ctypes.c_char_p
        three = ctypes.c_uint * 3
        launch = _Launch(
            three(*grid), three(*block), shared, schedule.seed, ORDERS.index(schedule.order), schedule.late_copies
        )
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        error = function(ctypes.byref(launch), pointers)
        self.emulator.statistics = Statistics.from_buffer_copy(self.library.emu_statistics().contents)
        if error:
            raise EmulatorError(f"{error.decode()}{self.fault()} ({schedule})")
        touched = self.guarded.touched() if self.guarded else None
        if touched is not None:
            raise EmulatorError(f"{self.kernel.name} writes {self.describe(touched)} ({schedule})")

    def fault(self) -> str:
        """Which memory an access outside the arrays was for, and the line; nothing if there was none."""
        address, instruction = self.library.emu_fault()[:2]
        if not instruction:
            return ""
        line = line_of(self.path, instruction - _base(self.library))
        return f": {self.describe(address)}{f', at {line}' if line else ''}"

    def describe(self, address: int) -> str:
        """A place outside all arrays, relative to those that begin or end nearest to it."""
        found = self.guarded.original(address) if self.guarded else None
        if found is None:
            return "a null pointer" if address < 1 << 16 else f"address {address:#x}, which is near no array"
        memory, offset = found
        behind = offset - (memory.end - memory.start)
        if behind >= 0:
            return f"{behind} bytes behind the end of {self.names(lambda r: r.end == memory.end)}"
        return f"{-offset} bytes before {self.names(lambda r: r.start == memory.start)}"

    def names(self, chosen: Callable[[Range], bool]) -> str:
        """Some arrays: they may lie over each other, or be the same."""
        return " and ".join(name for name, memory in self.ranges.items() if chosen(memory))

    def contents(self) -> list[bytes]:
        """The arrays that the run has left in memory; nothing without guards."""
        return self.guarded.contents() if self.guarded else []

    def differing(self, one: list[bytes], other: list[bytes]) -> str:
        """The arguments whose bytes differ."""
        if self.guarded is None:
            return ""
        starts = {source.start for (source, _, _), a, b in zip(self.guarded._copies, one, other, strict=True) if a != b}
        ends = {source.start: source.end for source, _, _ in self.guarded._copies}
        return ", ".join(n for n, r in self.ranges.items() if any(s <= r.start < ends[s] for s in starts))

    def deliver(self) -> set[str]:
        """Copy the results to the arrays; the names of those that changed."""
        starts = self.guarded.deliver() if self.guarded else []
        return {
            name for name, memory in self.ranges.items() if any(a < memory.end and memory.start < b for a, b in starts)
        }

    def release(self) -> None:
        if self.guarded:
            self.guarded.release()


class _Info(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("at", ctypes.c_void_p),
    )


def _base(library: ctypes.CDLL) -> int:
    """Where a library is loaded."""
    info = _Info()
    ctypes.CDLL(None).dladdr(ctypes.cast(library.emu_fault, ctypes.c_void_p), ctypes.byref(info))
    return info.base or 0


@contextmanager
def emulate(emulator: Emulator | None = None) -> Iterator[Emulator]:
    """Let an emulator run all launches inside a ``with`` block."""
    emulator = emulator or Emulator()
    before = set_launcher(emulator)
    try:
        yield emulator
    finally:
        set_launcher(before)
