"""Matrix products of operands with 32 or 16 bits: sums are always formed in at least float32."""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array, array_module
from ...backend.precision import rounded, wide

BLOCK = 1024
"""Rows that BLAS may add up in one product: for thin matrices it keeps a running sum."""


def product(a: Array, b: Array, dtype: Any = None) -> Array:
    """``a @ b``: (..., M, K) @ (..., K, N) -> (..., M, N), with leading dimensions as in ``numpy.matmul``.

    Args:
        a: (..., M, K), of 16, 32 or 64 bits.
        b: (..., K, N).
        dtype: of the result; that of the sums by default, float32 or float64.
    """
    return _of_dtype(array_module(a).matmul(wide(a), wide(b)), dtype)


def dot_rows(a: Array, b: Array, dtype: Any) -> Array:
    """Sum of the outer products of rows, ``a.T @ b``, a thousand rows at a time so that it keeps its digits.

    Args:
        a: (..., R, N) rows.
        b: (..., R, K) as many rows; the leading dimensions are those of ``a``.
        dtype: of the result.

    Returns:
        (..., N, K).
    """
    a, b = wide(a), wide(b)
    total = a[..., :BLOCK, :].swapaxes(-1, -2) @ b[..., :BLOCK, :]
    for first in range(BLOCK, a.shape[-2], BLOCK):
        rows = slice(first, first + BLOCK)
        total += a[..., rows, :].swapaxes(-1, -2) @ b[..., rows, :]
    return _of_dtype(total, dtype)


def wider(a: Array, b: Array) -> Any:
    """The dtype of a product: that of the operand with more bits."""
    return a.dtype if a.dtype.itemsize >= b.dtype.itemsize else b.dtype


def _of_dtype(x: Array, dtype: Any) -> Array:
    return x if dtype is None or x.dtype == dtype else rounded(x, dtype)
