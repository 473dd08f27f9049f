"""Operands of products on a GPU: rounded to 16 bits by a kernel where the precision says so.

CuPy could cast them too, but its support of bfloat16 is young, and the kernel rounds as the reference does by test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....backend.arrays import Array, array_module
from ....backend.cuda.launch import Source
from ....backend.precision import HALF, half_dtype, is_half, operand_precision
from ..common.sizes import blocks_for, vector_width
from ..common.targets import contiguous, row_count

_SOURCE = Source("linear/operands.cu")
CODES = {"float32": ("float", "f4"), "bfloat16": ("__nv_bfloat16", "bf16"), "float16": ("__half", "f2")}
"""The C++ type of a dtype, and its code in the signature of a kernel."""
_ROUND = {
    (name, V): _SOURCE.kernel(f"round_operand<{CODES[name][0]}, {V}>", f"f4* x, {CODES[name][1]}* out, i8 n")
    for name in HALF
    for V in (1, 4)
}


def operand(x: Array) -> Array:
    """``x`` as ``backend.precision.operand`` makes it, C-contiguous."""
    name = operand_precision()
    return rounded(x, half_dtype(name)) if name in HALF and x.dtype == np.float32 else contiguous(x)


def operand_like(x: Array, kept: Array) -> Array:
    """``x`` as ``backend.precision.operand_like`` makes it, C-contiguous."""
    return rounded(x, kept.dtype) if is_half(kept) and x.dtype == np.float32 else contiguous(x)


def as_operand(x: Array, *, name: str) -> Array:
    """See ``ops.linear.operands.as_operand``."""
    return rounded(x, half_dtype(name))


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """float32 numbers rounded to 16 bits."""
    x = contiguous(x)
    out: Array = array_module(x).empty(x.shape, dtype)
    if x.size:
        V = vector_width(x.size, x, out)
        _ROUND[dtype.name, V](blocks_for(x.size // V), 256, x, out, x.size)
    return out


def rows(x: Array) -> Array:
    """(..., C) -> (R, C), a view of a C-contiguous array."""
    return x.reshape(row_count(x), x.shape[-1])
