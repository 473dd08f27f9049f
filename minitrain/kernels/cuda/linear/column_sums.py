"""Sums over the rows of a matrix on a GPU, in a fixed order; the same pass may round it to an operand of products."""

from __future__ import annotations

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ....backend.precision import is_half
from ..common.sizes import PARTS, ceil_div
from ..common.targets import Slot, contiguous
from .operands import CODES, operand_like, rows

_SOURCE = Source("linear/column_sums.cu")
_SUM = {
    name: _SOURCE.kernel(f"column_sums<{kind}>", f"f4* x, {code}* operand?, f4* partial, i4 rows, i4 columns")
    for name, (kind, code) in CODES.items()
}
_ADD = _SOURCE.kernel("add_partials", "f4* partial, f4* out, i4 parts, i4 columns, i4 stride, i4 accumulate")

ROWS_OF_A_BLOCK = 64  # fewer would be more blocks than sums


def column_sums(x: Array, out: Slot, operand: Array | None = None) -> None:
    """The sums over the rows of ``x`` (R, C), C-contiguous, into a slot (C,); its rounded numbers into ``operand``."""
    if out.array is None:
        return
    R, C = x.shape
    parts = min(ceil_div(R, ROWS_OF_A_BLOCK), PARTS)
    partial = array_module(x).empty((parts, C), x.dtype)
    kernel = _SUM["float32" if operand is None else operand.dtype.name]
    kernel((ceil_div(C, 32), parts), (32, 8), x, operand, partial, R, C)
    _ADD(ceil_div(C, 128), 128, partial, out.array, parts, C, C, out.accumulate)


def operand_and_bias_sums(dout: Array, kept: Array, wanted: bool, dbias: Slot) -> Array | None:
    """The common part of both products of a linear backward.

    Args:
        dout: (..., N) gradient.
        kept: the other operand, whose precision ``dout`` takes over.
        wanted: whether there are products.
        dbias: slot (N,) for the sums over all rows, which are those of ``dout`` before it is rounded.

    Returns:
        (R, N) operand, ``None`` if it is not wanted.
    """
    flat = rows(contiguous(dout))  # (..., N) -> (R, N)
    if not wanted or dbias.array is None or not is_half(kept):
        column_sums(flat, dbias)
        return rows(operand_like(dout, kept)) if wanted else None
    operand: Array = array_module(dout).empty(flat.shape, kept.dtype)
    column_sums(flat, dbias, operand)
    return operand
