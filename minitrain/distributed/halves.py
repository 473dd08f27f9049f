"""bfloat16 between ranks: float32 numbers that are rounded so that their upper 16 bits are all there is to send.

Numbers are rounded in place, to the nearest and ties to even, and stay float32 arrays; what travels is exact. Every sum
of the tree is rounded, whether it travels or not. So a sum of n terms is rounded ``log2(n) + 1`` times on its way, each
time by at most 2^-8 of itself, and has the same bytes for every number of ranks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import array_module, is_cupy

Vector = NDArray[Any]
_UPPER = 1 if sys.byteorder == "little" else 0
_CHUNK = 1 << 15
"""Elements that are rounded at a time, so that all steps of it stay in the cache."""


def round_in_place(array: Vector) -> None:
    """Round a flat float32 array to bfloat16 numbers. NaN stays NaN; what is too large becomes infinite."""
    xp = array_module(array)
    for where in _chunks(array):
        part = array[where]
        bits = part.view("uint32")
        nans = xp.isnan(part)
        bits += ((bits >> 16) & 1) + np.uint32(0x7FFF)
        bits &= np.uint32(0xFFFF0000)
        if is_cupy(nans) or nans.any():  # a look at those of a GPU would wait
            part[...] = xp.where(nans, np.float32(np.nan), part)


def rounded_add(left: Vector, right: Vector, out: Vector) -> None:
    """``out = left + right``, rounded; flat float32 arrays."""
    for where in _chunks(out):
        array_module(out).add(left[where], right[where], out=out[where])
        round_in_place(out[where])


def _chunks(array: Vector) -> Iterator[slice]:
    """Parts that fit in the cache; on a GPU the whole."""
    size = max(1, array.size) if is_cupy(array) else _CHUNK
    return (slice(start, start + size) for start in range(0, array.size, size))


def packed(array: Vector) -> Vector:
    """The upper halves of a rounded array (n,): (n,) uint16."""
    return array_module(array).ascontiguousarray(array.view("uint16")[_UPPER::2])  # type: ignore[no-any-return]


def unpack(halves: Vector, out: Vector) -> None:
    """Fill ``out`` (n,) with the numbers whose upper halves (n,) these are."""
    words = out.view("uint16")
    words[_UPPER::2] = halves
    words[1 - _UPPER :: 2] = 0
