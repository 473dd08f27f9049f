"""The product of some rows with a matrix in panels, see ``_layout.py``.

The matrix may have float32, bfloat16 or int8 numbers. The smaller ones become float32 in a register: where a step waits
for memory, half the bytes take half the time. Sums are float32 in any case, and run in the order of ``sgemm``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange, types
from numba.extending import overload

from ....backend.arrays import Array
from ....backend.cpu._simd import ROWS, WIDTH
from ....backend.cpu._sums import sum_strips, sum_tile
from ....backend.cpu.jit import device, kernel
from ....backend.cpu.products._cblas import SIZE
from ....backend.cpu.products.sgemm import DEPTH, pack_strip
from ....backend.threads import threads_for
from ..common.math import chunk
from ._layout import whole_strips

f4 = np.float32


STRIPS = 3
"""Panels that one row is multiplied with at once."""


def _products(b_type: str) -> Any:
    """The function that multiplies some rows with a panel, or one row with several: out = x panels + beta out."""
    tall, four, two, one = (sum_tile(rows, False, b_type) for rows in (ROWS, 4, 2, 1))
    several = sum_strips(STRIPS, b_type)

    @device
    def product(rows, strips, depth, x, ldx, panel, distance, beta, out, ldo):
        if strips > 1:
            several(depth, x, panel, distance, beta, out)
            return
        i = 0
        while i < rows:
            left, place, target = rows - i, x + SIZE * i * ldx, out + SIZE * i * ldo
            if left >= ROWS and (left != 8 or ROWS == 8):  # two fours are faster than six and two
                tall(depth, place, ldx, panel, f4(1), beta, target, ldo)
                i += ROWS
            elif left >= 4:
                four(depth, place, ldx, panel, f4(1), beta, target, ldo)
                i += 4
            elif left >= 2:
                two(depth, place, ldx, panel, f4(1), beta, target, ldo)
                i += 2
            else:
                one(depth, place, ldx, panel, f4(1), beta, target, ldo)
                i += 1

    return product


_PRODUCTS = {types.float32: _products("float32"), types.uint16: _products("bfloat16"), types.int8: _products("int8")}


def _times_panels(panels, begin, distance, rows, strips, depth, x, ldx, beta, out, ldo):
    """Multiply some rows with a part of a panel, or one row with that of several, which are ``distance`` apart."""


@overload(_times_panels)
def _times_panels_of(panels, begin, distance, rows, strips, depth, x, ldx, beta, out, ldo):
    product = _PRODUCTS[panels.dtype]

    def times_panels(panels, begin, distance, rows, strips, depth, x, ldx, beta, out, ldo):
        product(rows, strips, depth, x, ldx, panels.ctypes.data + panels.itemsize * begin, distance, beta, out, ldo)

    return times_panels


@device
def multiply(x, rows, K, panels, lo, hi, scale, bias, out):
    """Out (rows, lo:hi) = x (rows, K) times a matrix (N, K) transposed, times its scales, plus its bias.

    Args:
        x: (R, at least K) float32.
        rows: how many rows of it.
        K: the matrix's columns.
        panels: its panels, from the first on.
        lo: first column of the result, a multiple of WIDTH.
        hi: end of the columns, likewise.
        scale: (N,), or empty.
        bias: (N,), or empty.
        out: (R, at least N rounded up to WIDTH).
    """
    j = lo
    while j < hi:
        strips = STRIPS if rows == 1 and j + STRIPS * WIDTH <= hi else 1
        for p in range(0, K, DEPTH):
            _times_panels(
                panels, j * K + p * WIDTH, K * WIDTH, rows, strips, min(DEPTH, K - p),
                x.ctypes.data + SIZE * p, x.shape[1], f4(0) if p == 0 else f4(1), out.ctypes.data + SIZE * j,
                out.shape[1],
            )  # fmt: skip
        j += strips * WIDTH
    for r in range(rows):
        row = out[r, lo:hi]
        if scale.size:
            factors = scale[lo:hi]
            for c in range(row.size):
                row[c] *= factors[c]
        if bias.size:
            added = bias[lo:hi]
            for c in range(row.size):
                row[c] += added[c]


def to_panels(weight: Array) -> Array:
    """A float32 matrix (N, K) as panels (N / WIDTH, K, WIDTH), with zeros beyond row N."""
    N, K = weight.shape
    out = np.empty((whole_strips(N) // WIDTH, K, WIDTH), np.float32)
    _pack(np.ascontiguousarray(weight), out, threads_for(weight.size))
    return out


@kernel("void(f4[:, ::1], f4[:, :, ::1], i8)")
def _pack(weight, out, threads):
    N, K = weight.shape
    for t in prange(threads):
        lo, hi = chunk(len(out), t, threads)
        for strip in range(lo, hi):
            j = strip * WIDTH
            pack_strip(True, weight.ctypes.data, K, 0, K, j, min(WIDTH, N - j), out[strip].ctypes.data)
