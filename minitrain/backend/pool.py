"""A memory pool for arrays: a steady training step asks the operating system for nothing.

A fresh large array costs a page fault for every 4 KiB it touches, several times the cost of filling memory that is
mapped already. ``empty`` therefore takes blocks from a free list. A block returns to the list when the last array that
views it is gone: the array's ``base`` is a small owner object whose ``__del__`` returns the block. CuPy has a pool of
its own; this one serves the CPU kernels.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np

from .arrays import Array, array_module, is_cupy

SMALLEST = 1 << 14  # bytes; below this the C library's own free lists are as fast
ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register


def size_class(nbytes: int) -> int:
    """``nbytes`` rounded up to one of eight sizes per power of two, so that arrays of similar size share blocks.

    The rounding costs address space only: the tail of a block is never touched.
    """
    step = 1 << max(nbytes.bit_length() - 4, 12)
    return -(-nbytes // step) * step


class _Memory(NamedTuple):
    """Memory and its first aligned address, stored because asking NumPy for it takes a microsecond."""

    array: Array
    address: int
    size: int  # bytes from the address on


class BufferPool:
    """Free lists of memory blocks by size class.

    Attributes:
        in_use: bytes handed out and not yet returned.
        peak: the largest ``in_use`` so far.
        cached: bytes in the free lists. They are freed when they exceed ``peak``.
    """

    def __init__(self) -> None:
        self._free: dict[int, list[_Memory]] = {}
        self.in_use = 0
        self.peak = 0
        self.cached = 0

    def empty(self, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
        """An uninitialised C-contiguous array, 64-byte aligned when it comes from the pool."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < SMALLEST:
            return np.empty(shape, dtype)
        return np.asarray(_Block(self, size_class(nbytes), shape, dtype))

    def reset_peak(self) -> None:
        """Set the peak to what is in use now."""
        self.peak = self.in_use

    def trim(self) -> None:
        """Return all free blocks to the operating system."""
        self._free.clear()
        self.cached = 0

    def _take(self, size: int) -> _Memory:
        memory = self._waiting(size)
        if memory is None:
            if self.cached > self.peak // 2:
                self.trim()
            array = np.empty(size + ALIGNMENT, np.uint8)
            memory = _Memory(array, -(-array.ctypes.data // ALIGNMENT) * ALIGNMENT, size)
        else:
            self.cached -= memory.size
        self.in_use += memory.size
        self.peak = max(self.peak, self.in_use)
        return memory

    def _waiting(self, size: int) -> _Memory | None:
        """A free block of this size, else the smallest one that is at most 1.5 times as large, if there is one.

        So arrays that are never alive at the same time, such as the wide gradients of two layers, share a block.
        """
        held = size
        while 2 * held <= 3 * size:
            try:
                if waiting := self._free.get(held):
                    return waiting.pop()  # pop is atomic: threads may share the pool
            except IndexError:
                pass
            held = size_class(held + 1)
        return None

    def _give_back(self, memory: _Memory) -> None:
        self.in_use -= memory.size
        self.cached += memory.size
        self._free.setdefault(memory.size, []).append(memory)


class _Block:
    """Owns one block while arrays view it; NumPy keeps it alive as their ``base``."""

    __slots__ = ("__array_interface__", "_memory", "_pool")

    def __init__(self, pool: BufferPool, size: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._pool, self._memory = pool, pool._take(size)
        self.__array_interface__ = {
            "data": (self._memory.address, False),
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # Ctrl-C came before the block was set
            self._pool._give_back(self._memory)


POOL = BufferPool()
"""The pool all CPU kernels share."""

empty = POOL.empty


def empty_like(x: Array, shape: tuple[int, ...] | None = None) -> Array:
    """An uninitialised array of ``x``'s dtype and device, and of ``x``'s shape unless ``shape`` is given."""
    shape = x.shape if shape is None else shape
    return array_module(x).empty(shape, x.dtype) if is_cupy(x) else POOL.empty(shape, x.dtype)
