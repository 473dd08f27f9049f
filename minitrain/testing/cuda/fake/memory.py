"""Device memory of the emulated device: blocks of host memory, aligned as CuPy's are, and pinned host memory.

Fresh memory is filled with the byte 255, which is NaN in every floating-point type and -1 in every signed integer, so
that what reads memory before it is written shows at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import record
from .devices import Device
from .streams import Marks, current_device, current_stream
from .usage import USAGE

ALIGNMENT = 512
"""Bytes: CuPy's pool hands out memory aligned to this."""


_blocks: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()


class Memory:
    """A block of device memory.

    Attributes:
        ptr: its address.
        size: its bytes.
        device_id: the device that it is on.
        raw: the host memory that stands for it, uint8.
        marks: who used it last, see `Marks`; taken over from the block that the pool reuses.
    """

    def __init__(self, size: int, fill: int | None = 255) -> None:
        USAGE.take(size)
        self.marks = _reused((current_stream().ptr, current_device(), size))
        weakref.finalize(self, _freed, (current_stream().ptr, current_device(), size), self.marks)
        whole = np.empty(size + ALIGNMENT, np.uint8)
        start = -whole.ctypes.data % ALIGNMENT
        self.raw = whole[start : start + size]
        if fill is not None:
            self.raw.fill(fill)
        self.ptr: int = whole.ctypes.data + start
        self.size, self.device_id = size, current_device()
        _blocks[self.ptr] = self

    @property
    def device(self) -> Device:
        """The device that it is on."""
        return Device(self.device_id)


_free: dict[tuple[int, int, int], list[Marks]] = {}
"""Of blocks that are free, by stream, device and size. CuPy's pool gives such a block to the next array of that stream,
whatever else may still be at it; so a new block begins with the marks of a free one."""


def _reused(place: tuple[int, int, int]) -> Marks:
    return _free[place].pop() if _free.get(place) else Marks()


def _freed(place: tuple[int, int, int], marks: Marks) -> None:
    USAGE.give_back(place[2])
    if place[0]:  # what is allocated on the default stream is used there, but for copies
        _free.setdefault(place, []).append(marks.everywhere())


def forget_blocks() -> None:
    """Begin anew: no block is free."""
    _free.clear()


def holding(address: int) -> Memory | None:
    """The block of device memory that an address is in."""
    blocks = [reference() for reference in _blocks.valuerefs()]  # one call: other threads may make blocks meanwhile
    return next((b for b in blocks if b is not None and 0 <= address - b.ptr < max(b.size, 1)), None)


class UnownedMemory(Memory):
    """Device memory that somebody else gives back: ``owner`` lives as long as it does.

    Args:
        ptr: its address.
        size: its bytes.
        owner: kept alive.
        device_id: the device that it is on.
    """

    def __init__(self, ptr: int, size: int, owner: object, device_id: int = -1) -> None:
        whole = holding(ptr)
        if whole is None or ptr + size > whole.ptr + whole.size:
            raise ValueError(f"{size} bytes at {ptr:#x} are no device memory")
        self.raw = whole.raw[ptr - whole.ptr : ptr - whole.ptr + size]
        self.ptr, self.size, self.device_id, self.marks = ptr, size, whole.device_id, whole.marks
        self._kept = owner, whole


class MemoryPointer:
    """An address inside a block."""

    __slots__ = ("mem", "offset")

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.offset = mem, offset

    @property
    def ptr(self) -> int:
        """The address."""
        return self.mem.ptr + self.offset

    @property
    def device(self) -> Device:
        """The device that it is on."""
        return self.mem.device

    @property
    def device_id(self) -> int:
        """The number of the device that it is on."""
        return self.mem.device_id

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.offset + offset)

    def memset_async(self, value: int, size: int, stream: Any = None) -> None:
        """Fill ``size`` bytes."""
        self.mem.raw[self.offset : self.offset + size] = value


Allocator = Callable[[int], MemoryPointer]
_allocator: Allocator | None = None


def alloc(size: int) -> MemoryPointer:
    """New memory from the allocator in force, which is filled with 255 unless the allocator is another one."""
    record.count("allocations")
    return MemoryPointer(Memory(size), 0) if _allocator is None else _allocator(size)


def set_allocator(allocator: Allocator | None = None) -> None:
    """Take memory from ``allocator(size)`` from now on; ``None`` restores the default."""
    global _allocator
    _allocator = allocator


@contextmanager
def using_allocator(allocator: Allocator | None = None) -> Iterator[None]:
    """Take memory from ``allocator(size)`` inside the ``with`` block."""
    before = _allocator
    set_allocator(allocator)
    try:
        yield
    finally:
        set_allocator(before)


class MemoryPool:
    """CuPy's pool, as far as it is asked: how much is used."""

    def malloc(self, size: int) -> MemoryPointer:
        """New memory."""
        return MemoryPointer(Memory(size), 0)

    def used_bytes(self) -> int:
        """Bytes that arrays hold."""
        return USAGE.used

    def total_bytes(self) -> int:
        """Bytes that the pool holds: the emulated pool keeps nothing that is free."""
        return USAGE.used

    def free_bytes(self) -> int:
        """Bytes that are free in the pool."""
        return 0

    def free_all_blocks(self, stream: Any = None) -> None:
        """Give back what is free."""

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Refuse to hold more than ``size`` bytes; 0 or ``None`` is no limit."""
        USAGE.limit = size or None


POOL = MemoryPool()

_pinned: dict[int, tuple[int, weakref.ref[Any]]] = {}


def empty_pinned(shape: int | tuple[int, ...], dtype: Any = float, order: str = "C") -> Any:
    """A NumPy array in pinned memory, from which a copy can run beside the host."""
    array = np.empty(shape, dtype, order=order)  # type: ignore[call-overload]
    address = array.ctypes.data
    _pinned[address] = (array.nbytes, weakref.ref(array, lambda _: _pinned.pop(address, None)))
    return array


def is_pinned(array: Any) -> bool:
    """Whether a NumPy array lies in pinned memory."""
    start = array.ctypes.data
    return any(first <= start and start + array.nbytes <= first + size for first, (size, _) in _pinned.items())
