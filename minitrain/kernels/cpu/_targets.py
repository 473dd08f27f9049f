"""How a kernel's launcher serves ``into``: which memory the kernel writes to, and with which beta."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...backend.pool import empty
from ...backend.targets import SKIP, Into, Skip, Target, check_fits, deliver

NONE = np.empty(0, np.float32)
"""Stands for an absent vector; a kernel looks at its size."""


class Slot(NamedTuple):
    """Where a kernel puts one gradient. An ``array`` of size 0 means that it shall not be computed."""

    array: Array  # C-contiguous
    beta: float  # 0 to overwrite what the array holds, 1 to add to it
    target: Target  # what is left to do with the array afterwards

    def as_target(self) -> Target:
        """What makes another twin put the gradient here."""
        return Into(self.array, bool(self.beta)) if self.array.size else SKIP

    def result(self) -> Array | None:
        """What the backward returns for this gradient."""
        return deliver(self.array, self.target)


def slot(target: Target, shape: tuple[int, ...]) -> Slot:
    """The slot for a gradient of ``shape`` that is to go to ``target``."""
    if isinstance(target, Skip):
        return Slot(np.empty((0,) * len(shape), np.float32), 0.0, target)
    if isinstance(target, Into):
        check_fits(target.buffer, shape)
    if isinstance(target, Into) and target.buffer.flags.carray and target.buffer.dtype == np.float32:
        return Slot(target.buffer, float(target.accumulate), None)
    return Slot(empty(shape), 0.0, target)


def rows(x: Array) -> Array:
    """(..., C) -> (R, C), C-contiguous; a copy only if ``x`` is strided."""
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1]) if x.size else np.empty((0, x.shape[-1]), np.float32)
