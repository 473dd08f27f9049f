"""Gives memory back to the system while its addresses stay: what is written later gets fresh pages."""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable

from ..arrays import Array

_DONTNEED: int | None = getattr(mmap, "MADV_DONTNEED", None)  # Linux drops the pages at once


def give_back(array: Array) -> None:
    """Give back all pages that lie within a contiguous array. Its values are lost: zeros, or what they were.

    Does nothing where the system cannot do that; see ``madvise(2)``.
    """
    advise = _madvise()
    start, end = array.ctypes.data, array.ctypes.data + array.nbytes
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if advise is not None and last > first:
        advise(first, last - first, _DONTNEED)


@functools.cache
def _madvise() -> Callable[..., int] | None:
    if _DONTNEED is None:
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError, TypeError):  # TypeError: Windows has no library of the process
        return None
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
    return function
