"""Sums over the rows of a matrix on a GPU, in a fixed order."""

from __future__ import annotations

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ..common.sizes import PARTS, ceil_div
from ..common.targets import Slot

_SOURCE = Source("linear/column_sums.cu")
_SUM = _SOURCE.kernel("column_sums", "f4* x, f4* partial, i4 rows, i4 columns")
_ADD = _SOURCE.kernel("add_partials", "f4* partial, f4* out, i4 parts, i4 columns, i4 stride, i4 accumulate")

ROWS_OF_A_BLOCK = 64  # fewer would be more blocks than sums


def column_sums(x: Array, out: Slot) -> None:
    """The sums over the rows of ``x`` (R, C), C-contiguous, into a slot (C,)."""
    if out.array is None:
        return
    R, C = x.shape
    parts = min(ceil_div(R, ROWS_OF_A_BLOCK), PARTS)
    partial = array_module(x).empty((parts, C), x.dtype)
    _SUM((ceil_div(C, 32), parts), (32, 8), x, partial, R, C)
    _ADD(ceil_div(C, 128), 128, partial, out.array, parts, C, C, out.accumulate)
