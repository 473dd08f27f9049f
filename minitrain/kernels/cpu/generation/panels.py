"""The product of some rows with a matrix in panels, see ``layout.py``.

The matrix may have float32, bfloat16 or int8 numbers. The smaller ones become float32 in a register: where a step waits
for memory, half the bytes take half the time. Sums are float32 in any case, and run in the order of ``sgemm``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange, types
from numba.extending import overload

from ....backend.arrays import Array
from ....backend.cpu._simd import ROWS, WIDTH, sum_tile
from ....backend.cpu.jit import device, kernel
from ....backend.cpu.products._cblas import SIZE
from ....backend.cpu.products.sgemm import DEPTH, pack_strip
from ....backend.threads import threads_for
from ..common.math import chunk
from .layout import whole_strips

f4 = np.float32


def _column_of_tiles(b_type: str) -> Any:
    """The function that multiplies some rows with one panel: out (rows, WIDTH) = x (rows, depth) panel + beta out."""
    tall, four, two, one = (sum_tile(rows, False, b_type) for rows in (ROWS, 4, 2, 1))

    @device
    def column(rows, depth, x, ldx, panel, beta, out, ldo):
        i = 0
        while i < rows:
            left, place, target = rows - i, x + SIZE * i * ldx, out + SIZE * i * ldo
            if left >= ROWS:
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

    return column


_COLUMNS = {
    types.float32: _column_of_tiles("float32"),
    types.uint16: _column_of_tiles("bfloat16"),
    types.int8: _column_of_tiles("int8"),
}


def _times_panel(panels, begin, rows, depth, x, ldx, beta, out, ldo):
    """Multiply some rows with the part of a panel that begins there."""


@overload(_times_panel)
def _times_panel_of(panels, begin, rows, depth, x, ldx, beta, out, ldo):
    column = _COLUMNS[panels.dtype]

    def times_panel(panels, begin, rows, depth, x, ldx, beta, out, ldo):
        column(rows, depth, x, ldx, panels.ctypes.data + panels.itemsize * begin, beta, out, ldo)

    return times_panel


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
    for j in range(lo, hi, WIDTH):
        for p in range(0, K, DEPTH):
            _times_panel(
                panels, j * K + p * WIDTH, rows, min(DEPTH, K - p), x.ctypes.data + SIZE * p, x.shape[1],
                f4(0) if p == 0 else f4(1), out.ctypes.data + SIZE * j, out.shape[1],
            )  # fmt: skip
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
