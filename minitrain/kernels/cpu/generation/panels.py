"""The product of some rows with a matrix in panels, see ``layout.py``."""

from __future__ import annotations

import numpy as np

from ....backend.cpu._simd import WIDTH
from ....backend.cpu.jit import device
from ....backend.cpu.products._cblas import SIZE
from ....backend.cpu.products.sgemm import DEPTH, column_of_tiles

f4 = np.float32


@device
def multiply(x, rows, K, panels, lo, hi, bias, out):
    """Out (rows, lo:hi) = x (rows, K) times a matrix (N, K) transposed, plus its bias, from one panel to the next.

    Args:
        x: (R, at least K) float32.
        rows: how many rows of it.
        K: the matrix's columns.
        panels: its panels, from the first on.
        lo: first column of the result, a multiple of WIDTH.
        hi: end of the columns, likewise.
        bias: (N,), or empty.
        out: (R, at least N rounded up to WIDTH).
    """
    for j in range(lo, hi, WIDTH):
        for p in range(0, K, DEPTH):
            column_of_tiles(
                False, False, rows, min(DEPTH, K - p), x.ctypes.data + SIZE * p, x.shape[1],
                panels.ctypes.data + SIZE * (j * K + p * WIDTH), f4(1), f4(0) if p == 0 else f4(1),
                out.ctypes.data + SIZE * j, out.shape[1],
            )  # fmt: skip
    if bias.size:
        b = bias[lo:hi]
        for r in range(rows):
            row = out[r, lo:hi]
            for c in range(b.size):
                row[c] += b[c]
