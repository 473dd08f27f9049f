"""Matrix products inside kernels: row-major, on one thread, called from parallel loops.

Operands are float32 or bfloat16, given as its 16 bits (uint16); results are float32. The operands' type chooses the
product: the ``sgemm`` of ``backend.cpu.products.blas``, or ``bf16_product`` beside it on this machine's unit.
"""

from __future__ import annotations

import functools

import llvmlite.binding
from numba import types
from numba.extending import overload

from ....backend.cpu.jit import blas_width, device, link_before_loading
from ....backend.cpu.products.bf16_units import link_unit
from ....backend.cpu.products.blas import SYMBOL, blas

_blas = blas()
available = _blas is not None
if _blas is not None:
    link_before_loading(SYMBOL, _blas.sgemm_address)

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # CBLAS's constants
_int = types.int64 if blas_width() else types.int32
_enum, _float, _address = types.int32, types.float32, types.int64  # an address is passed like a pointer
_sgemm = types.ExternalFunction(
    SYMBOL,
    types.void(_enum, _enum, _enum, _int, _int, _int, _float, _address, _int, _address, _int, _float, _address, _int),
)
BF16_SYMBOL = "minitrain_bf16_product"
_bf16_product = types.ExternalFunction(
    BF16_SYMBOL,
    types.void(
        _enum, _enum, _enum, _address, _address, _address,
        _float, _address, _address, _address, _address, _float, _address, _address,
    ),
)  # fmt: skip


@functools.cache
def takes_halves() -> bool:
    """Whether kernels may multiply bfloat16 operands as they are. The first call links the product for them."""
    unit = link_unit()
    if unit.takes_halves:
        from ....backend.cpu.products import bf16_product

        llvmlite.binding.add_symbol(BF16_SYMBOL, bf16_product.address(unit.name))
    return unit.takes_halves


def _product(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C (m, n) = alpha A B + beta C, by the product for the operands' type."""


@overload(_product)
def _product_for(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    def float32(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        _sgemm(
            _ROW_MAJOR, _enum(transpose_a), _enum(transpose_b), _int(m), _int(n), _int(k),
            _float(alpha), a.ctypes.data, _int(lda), b.ctypes.data, _int(ldb), _float(beta), c.ctypes.data, _int(ldc),
        )  # fmt: skip

    def bfloat16(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        _bf16_product(
            _ROW_MAJOR, _enum(transpose_a), _enum(transpose_b), m, n, k,
            _float(alpha), a.ctypes.data, lda, b.ctypes.data, ldb, _float(beta), c.ctypes.data, ldc,
        )  # fmt: skip

    return bfloat16 if a.dtype == types.uint16 else float32


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
