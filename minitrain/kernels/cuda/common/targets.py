"""How a twin serves ``into``: the memory that a kernel writes to, and whether it adds to what is there."""

from __future__ import annotations

import math
from typing import NamedTuple

from ....backend.arrays import Array, array_module, is_array, is_cupy
from ....backend.targets import Into, Skip, Target, check_fits, deliver


class Slot(NamedTuple):
    """Where a kernel writes one gradient. No ``array`` means that the gradient is skipped."""

    array: Array | None  # C-contiguous
    accumulate: int  # 0 to overwrite what the array holds, 1 to add to it
    target: Target  # where the array must still be delivered afterwards

    def result(self) -> Array | None:
        """The return value of the backward for this gradient."""
        return None if self.array is None else deliver(self.array, self.target)


def slot(target: Target, shape: tuple[int, ...], like: Array) -> Slot:
    """The slot for a gradient of ``shape`` that goes to ``target``, of the dtype and device of ``like``."""
    if isinstance(target, Skip):
        return Slot(None, 0, target)
    if isinstance(target, Into):
        check_fits(target.buffer, shape)
        buffer = target.buffer
        if buffer.flags.c_contiguous and buffer.dtype == like.dtype and is_cupy(buffer) == is_cupy(like):
            return Slot(buffer, int(target.accumulate), None)
    return Slot(array_module(like).empty(shape, like.dtype), 0, target)


def contiguous(x: Array) -> Array:
    """``x`` itself if it is a C-contiguous array, else a copy on its device; NumPy has scalars for arrays ()."""
    return x if is_array(x) and x.flags.c_contiguous else array_module(x).ascontiguousarray(x)


def optional(x: Array | None) -> Array | None:
    """``contiguous(x)``, and ``None`` for ``None``."""
    return None if x is None else contiguous(x)


def row_count(x: Array) -> int:
    """The number of rows of (..., C)."""
    return math.prod(x.shape[:-1])
