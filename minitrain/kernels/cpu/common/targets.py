"""How a kernel's launcher serves ``into``: the memory that the kernel writes to, and its beta."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ....backend.arrays import Array
from ....backend.pool import empty
from ....backend.targets import Into, Skip, Target, check_fits, deliver

NONE = np.empty(0, np.float32)
"""Stands for an absent vector; a kernel looks at its size."""
NO_ROWS = NONE.reshape(0, 0)
"""Stands for absent rows."""


class Slot(NamedTuple):
    """Where a kernel writes one gradient. An ``array`` of size 0 means that the gradient is skipped."""

    array: Array  # C-contiguous
    beta: float  # 0 to overwrite what the array holds, 1 to add to it
    target: Target  # where the array must still be delivered afterwards

    def result(self) -> Array | None:
        """The return value of the backward for this gradient."""
        return deliver(self.array, self.target)


def slot(target: Target, shape: tuple[int, ...]) -> Slot:
    """The slot for a gradient of ``shape`` that goes to ``target``."""
    if isinstance(target, Skip):
        return Slot(np.empty((0,) * len(shape), np.float32), 0.0, target)
    if isinstance(target, Into):
        check_fits(target.buffer, shape)
    if isinstance(target, Into) and target.buffer.flags.carray and target.buffer.dtype == np.float32:
        return Slot(target.buffer, float(target.accumulate), None)
    return Slot(empty(shape), 0.0, target)


def full_slot(target: Target, shape: tuple[int, ...]) -> Slot:
    """Like ``slot``, but a skipped gradient has memory too: the kernel computes it along with another one."""
    return Slot(empty(shape), 0.0, target) if isinstance(target, Skip) else slot(target, shape)


def rows(x: Array) -> Array:
    """(..., C) -> (R, C), C-contiguous; a copy only if ``x`` is strided."""
    return np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def flat(x: Array) -> Array:
    """(...) -> (n,), C-contiguous; a copy only if ``x`` is strided."""
    return x.ravel()  # type: ignore[no-any-return]


def heads(x: Array) -> Array:
    """(B, T, H, D); a copy only if ``x`` is neither contiguous nor a slice of a packed array."""
    return x if _is_heads(x) else np.ascontiguousarray(x)


def heads_slot(target: Target, shape: tuple[int, ...]) -> Slot:
    """Like ``full_slot`` for a gradient (B, T, H, D), but a slice of a packed gradient is written to directly."""
    if isinstance(target, Into):
        check_fits(target.buffer, shape)
        if target.buffer.flags.behaved and _is_heads(target.buffer):
            return Slot(target.buffer, float(target.accumulate), None)
    return Slot(empty(shape), 0.0, target)


def _is_heads(x: Array) -> bool:
    """Whether the rows of a head are contiguous and do not overlap, so that BLAS can step from one to the next."""
    apart = x.strides[1] >= 4 * x.shape[3] or x.shape[1] == 1
    return x.dtype == np.float32 and x.strides[3] == 4 and apart and all(s > 0 and s % 4 == 0 for s in x.strides)
