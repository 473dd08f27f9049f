"""Matrix products inside kernels: row-major ``sgemm`` on one thread, called from parallel loops."""

from __future__ import annotations

import llvmlite.binding
from numba import types

from ....backend.cpu.blas import SYMBOL, blas
from ....backend.cpu.jit import blas_width, device

_blas = blas()
available = _blas is not None
if _blas is not None:
    llvmlite.binding.add_symbol(SYMBOL, _blas.sgemm_address())

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # CBLAS's constants
_int = types.int64 if blas_width() else types.int32
_enum, _float, _pointer = types.int32, types.float32, types.CPointer(types.float32)
_sgemm = types.ExternalFunction(
    SYMBOL,
    types.void(_enum, _enum, _enum, _int, _int, _int, _float, _pointer, _int, _pointer, _int, _float, _pointer, _int),
)


@device
def _product(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    _sgemm(
        _ROW_MAJOR, _enum(transpose_a), _enum(transpose_b), _int(m), _int(n), _int(k),
        _float(alpha), a.ctypes, _int(lda), b.ctypes, _int(ldb), _float(beta), c.ctypes, _int(ldc),
    )  # fmt: skip


@device
def gemm_nt(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C (m, n) = alpha A (m, k) B (n, k)^T + beta C; ``ld*`` is the stride between rows."""
    _product(_PLAIN, _TRANSPOSED, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


@device
def gemm_nn(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C (m, n) = alpha A (m, k) B (k, n) + beta C."""
    _product(_PLAIN, _PLAIN, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


@device
def gemm_tn(m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C (m, n) = alpha A (k, m)^T B (k, n) + beta C."""
    _product(_TRANSPOSED, _PLAIN, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


@device
def block(rows, columns, part, parts):
    """The block of a (rows, columns) result that ``part`` of ``parts`` computes. The longer side is split.

    Blocks begin at multiples of 16, the width of a vector register.

    Returns:
        First row, end row, first column, end column.
    """
    n = rows if rows >= columns else columns
    sixteenths = (n + 15) // 16
    lo = min(n, sixteenths * part // parts * 16)
    hi = min(n, sixteenths * (part + 1) // parts * 16)
    return (lo, hi, 0, columns) if rows >= columns else (0, rows, lo, hi)
