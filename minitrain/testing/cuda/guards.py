"""Memory with walls: a kernel works on copies of its arrays, each between pages that nobody may touch.

An access to a wall ends the launch with an error, and so does a write to what lies between an array and a wall. The
first run has its arrays before a wall, the second one behind a wall. Walls are a quarter of a
megabyte thick, so that what is far outside an array is rarely in another one.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable
from typing import NamedTuple

PAGE = mmap.PAGESIZE
WALL = 64 * PAGE
FILLS = (0xFF, 0x7B)
"""The bytes around arrays, one by one: NaN in each floating type, and large numbers. A kernel that adds something to
NaN leaves NaN, and only the other one shows that it was there."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
PROT_NONE = 0


class Range(NamedTuple):
    """Bytes in memory."""

    start: int
    end: int


class _Block:
    """Pages between two walls."""

    def __init__(self, pages: int) -> None:
        self.size = pages * PAGE
        # Private: a copy of this process has a copy of this memory.
        self.map = mmap.mmap(-1, self.size + 2 * WALL, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map)) + WALL
        for wall in (self.start - WALL, self.start + self.size):
            if _libc.mprotect(wall, WALL, PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect failed")

    def before_wall(self, memory: Range) -> int:
        """Where a copy begins, as near to the wall behind it as an address with the same remainder by 16 allows."""
        begin = self.start + self.size - (memory.end - memory.start)
        return begin - (begin - memory.start) % 16

    def behind_wall(self, start: int) -> int:
        """The same for the wall before it."""
        return self.start + (start - self.start) % 16


_free: dict[int, list[_Block]] = {}


class Guarded:
    """Guarded copies of some memory. Ranges that overlap are one copy, as they are in place.

    Args:
        ranges: the memory of the arguments.
    """

    def __init__(self, ranges: Iterable[Range]) -> None:
        self._around = FILLS[0]
        self._copies: list[tuple[Range, _Block, int]] = []  # the memory, its block, where its copy begins
        for merged in merge(ranges):
            size = merged.end - merged.start
            pages = -(-(size + 16) // PAGE)
            waiting = _free.get(pages)
            block = waiting.pop() if waiting else _Block(pages)
            self._copies.append((merged, block, block.before_wall(merged)))

    def fill(self, run: int = 0) -> None:
        """Copy the memory to where the kernel works. In every second run it is right behind a wall, not before one."""
        self._around = FILLS[run % 2]
        self._copies = [
            (source, block, block.behind_wall(source.start) if run % 2 else block.before_wall(source))
            for source, block, _ in self._copies
        ]
        for source, block, begin in self._copies:
            ctypes.memset(block.start, self._around, block.size)
            ctypes.memmove(begin, source.start, source.end - source.start)

    def contents(self) -> list[bytes]:
        """The values that the kernel has left in each copy."""
        return [ctypes.string_at(begin, source.end - source.start) for source, _, begin in self._copies]

    def deliver(self) -> list[Range]:
        """Copy the results back to the memory; what did not change is not written, for it may be read-only.

        Returns:
            The memory that changed.
        """
        changed = []
        for source, _, begin in self._copies:
            size = source.end - source.start
            if ctypes.string_at(begin, size) != ctypes.string_at(source.start, size):
                ctypes.memmove(source.start, begin, size)
                changed.append(source)
        return changed

    def address(self, original: int) -> int:
        """Where the copy of an address is."""
        for source, _, begin in self._copies:
            if source.start <= original < source.end:
                return begin + original - source.start
        return original

    def original(self, address: int) -> tuple[Range, int] | None:
        """For an address in or near a copy: its memory, and the distance in bytes from where that begins."""
        for source, block, begin in self._copies:
            if block.start - WALL <= address < block.start + block.size + WALL:
                return source, address - begin
        return None

    def touched(self) -> int | None:
        """An address outside the arrays that the kernel has written to, or ``None``."""
        for source, block, begin in self._copies:
            end = begin + source.end - source.start
            for start, stop in ((block.start, begin), (end, block.start + block.size)):
                left = ctypes.string_at(start, stop - start)
                if left.count(self._around) != len(left):
                    return start + next(i for i, byte in enumerate(left) if byte != self._around)
        return None

    def release(self) -> None:
        """Give the blocks back."""
        for _, block, _ in self._copies:
            _free.setdefault(block.size // PAGE, []).append(block)
        self._copies.clear()


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same bytes as ranges that do not overlap, in order; empty ones are left out."""
    merged: list[Range] = []
    for start, end in sorted(ranges):
        if start == end:
            continue
        if merged and start < merged[-1].end:
            merged[-1] = Range(merged[-1].start, max(merged[-1].end, end))
        else:
            merged.append(Range(start, end))
    return merged
