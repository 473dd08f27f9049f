"""Matrix products of operands with 16, 32 or 64 bits. Sums and results have at least 32."""

from __future__ import annotations

from ...backend.arrays import Array, array_module, is_cupy
from ...backend.cuda.gemm import any_matmul
from ...backend.kernels_mode import kernels_enabled
from ...backend.precision import wide

BLOCK = 1024
"""Rows that BLAS may sum in one product: for thin matrices it keeps a running sum."""


def product(a: Array, b: Array) -> Array:
    """``a @ b`` in float32, or float64: (..., M, K) @ (..., K, N) -> (..., M, N), as in ``numpy.matmul``."""
    if is_cupy(a) and kernels_enabled():  # CuPy's product of batches is slow in 16 bits, and no graph can hold it
        return any_matmul(a, b) if a.ndim > 1 else any_matmul(a[None], b)[0]  # (K,) is one row
    return array_module(a).matmul(wide(a), wide(b))  # type: ignore[no-any-return]


def dot_rows(a: Array, b: Array) -> Array:
    """Sum of the outer products of rows, ``a.T @ b``, a thousand rows at a time so that it keeps its digits.

    Args:
        a: (..., R, N) rows.
        b: (..., R, K) rows, with the leading dimensions of ``a``.

    Returns:
        (..., N, K), in float32 or float64.
    """
    if is_cupy(a) and kernels_enabled():  # cuBLAS adds in blocks, too
        return any_matmul(a.swapaxes(-1, -2), b)
    a, b = wide(a), wide(b)
    total = a[..., :BLOCK, :].swapaxes(-1, -2) @ b[..., :BLOCK, :]
    for first in range(BLOCK, a.shape[-2], BLOCK):
        rows = slice(first, first + BLOCK)
        total += a[..., rows, :].swapaxes(-1, -2) @ b[..., rows, :]
    return total
