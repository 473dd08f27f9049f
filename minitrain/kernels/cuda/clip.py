"""CUDA twin of ``optim.clip``'s reduction: partial sums in a fixed number of parts, added in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend.arrays import Array, array_module
from ...backend.cuda.launch import Source
from .common.sizes import PARTS, THREADS, ceil_div

_SOURCE = Source("clip.cu")
_PARTIAL = _SOURCE.kernel("partial_squares", "f4* x, f8* partial, i8 n")
_ADD = _SOURCE.kernel("add_parts", "f8* partial, f8* total, i4 parts")


def sum_of_squares(x: Array) -> Any:
    """See ``optim.clip.sum_of_squares``. The result stays on the device, and nothing waits for it."""
    return NotImplemented if x.size == 0 else squares(x)


def squares(x: Array) -> Array:
    """The sum of squares of ``x``, a float64 array of shape () on the device; nothing waits for it."""
    xp = array_module(x)
    parts = min(PARTS, ceil_div(x.size, THREADS))
    partial, total = xp.empty(parts, np.float64), xp.empty((), np.float64)
    _PARTIAL(parts, THREADS, x, partial, x.size)
    _ADD(1, THREADS, partial, total, parts)
    return total  # type: ignore[no-any-return]
