"""Calls of compiled matrix products by their address, and matrices with foreign numbers between their rows."""

from __future__ import annotations

import ctypes
from typing import Any

from minitrain.backend.cpu.products._cblas import TRANSPOSED

PLAIN = 111
_form, _index, _number, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p
_FUNCTION = ctypes.CFUNCTYPE(
    None, *[_form] * 3, *[_index] * 3, _number, _pointer, _index, _pointer, _index, _number, _pointer, _index
)


def call_product(
    address: int, a: Any, b: Any, c: Any, *, alpha: float = 1.0, beta: float = 0.0,
    a_by_columns: bool = False, b_by_columns: bool = False,
) -> None:  # fmt: skip
    """C = alpha A B + beta C, in place; a factor by columns lies in memory as its transpose."""
    form = {True: TRANSPOSED, False: PLAIN}
    (m, k), n = a.shape, b.shape[1]
    stored_a, stored_b = a.T if a_by_columns else a, b.T if b_by_columns else b
    _FUNCTION(address)(
        101, form[a_by_columns], form[b_by_columns], m, n, k,
        alpha, stored_a.ctypes.data, stored_a.strides[0] // stored_a.itemsize,
        stored_b.ctypes.data, stored_b.strides[0] // stored_b.itemsize, beta, c.ctypes.data, c.strides[0] // 4,
    )  # fmt: skip


def matrix(rng: Any, rows: int, columns: int, by_columns: bool, gap: int, dtype: Any = "float32") -> Any:
    """A (rows, columns) matrix with ``gap`` foreign numbers after each row as it lies in memory."""
    shape = (columns, rows) if by_columns else (rows, columns)
    numbers = rng.standard_normal((shape[0], shape[1] + gap), dtype="float32").astype(dtype)
    stored = numbers[:, : shape[1]]
    return stored.T if by_columns else stored
