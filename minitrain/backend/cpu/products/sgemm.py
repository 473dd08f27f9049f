"""A matrix product of our own for processors with AVX2 or AVX-512: blocks stay in cache, tiles stay in registers.

It has the signature of CBLAS's ``sgemm`` and is one of the candidates of ``blas``. The scheme is that of
Goto and van de Geijn (Anatomy of high-performance matrix multiplication, ACM TOMS 34, 2008), simplified. A strip of B,
DEPTH x WIDTH, is packed contiguously and stays in the first-level cache (32 KiB, or 16 with AVX2). It is multiplied by
the rows of a block of A, HEIGHT x DEPTH, which stays in the second level (512 KiB, or 192). A large product packs the
block of A, too. A small one reads A in place: there, packing costs more than it saves.

Every element of C is summed in the same order, however C is split over threads: the number of threads changes nothing.

Matrices are addresses here, because one compiled function serves all kernels. Strides between rows count numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._simd import (
    FEATURES,
    LANES,
    ROWS,
    WIDTH,
    copy_row,
    copy_rows,
    get,
    keep_alive,
    put,
    transpose_block,
)
from .._sums import sum_tile
from ..c_function import CFunction
from ..compiler import device
from ._cblas import SIGNATURE, SIZE, TRANSPOSED, only_scale

DEPTH = 256
HEIGHT = 512 if LANES == 16 else 192  # a multiple of ROWS
LARGE = 1 << 27  # multiplications from which on A is packed
f4 = np.float32


# The first argument is CBLAS's storage order. It is ignored: kernels always pass row-major.
def sgemm(order, a_form, b_form, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
    """C (m, n) = alpha A (m, k) B (k, n) + beta C, all row-major; A and B may be stored transposed."""
    a_by_columns, b_by_columns = a_form == TRANSPOSED, b_form == TRANSPOSED
    # Memory for a strip of B, one of C and a block of A, aligned to a register's size.
    strip_size, edge_size = WIDTH * min(k, DEPTH), WIDTH * min(m, HEIGHT) if n % WIDTH else 0
    large = m * n * k >= LARGE
    block_size = min(m, HEIGHT) * min(k, DEPTH) + LANES if large else 0
    memory = np.empty(strip_size + edge_size + block_size + LANES, f4)
    strip = (memory.ctypes.data + SIZE * LANES - 1) // (SIZE * LANES) * (SIZE * LANES)
    edge = strip + SIZE * strip_size
    block = edge + SIZE * edge_size
    if k == 0:
        only_scale(c, m, n, ldc, beta)
    for i in range(0, m, HEIGHT):
        height = min(HEIGHT, m - i)
        for p in range(0, k, DEPTH):
            depth = min(DEPTH, k - p)
            a_block = a + SIZE * (p * lda + i if a_by_columns else i * lda + p)
            onto = beta if p == 0 else f4(1)
            rows = block if large else a_block
            if large:
                _pack_block(a_by_columns, a_block, lda, height, depth, block)
            for j in range(0, n, WIDTH):
                width = min(WIDTH, n - j)
                pack_strip(b_by_columns, b, ldb, p, depth, j, width, strip)
                c_block = c + SIZE * (i * ldc + j)
                # Tiles that exceed C are written to a buffer first.
                tiles, ldt, scale = (c_block, ldc, onto) if width == WIDTH else (edge, WIDTH, f4(0))
                column_of_tiles(a_by_columns, large, height, depth, rows, lda, strip, alpha, scale, tiles, ldt)
                if width < WIDTH:
                    _add_edge(edge, height, width, onto, c_block, ldc)
    keep_alive(memory)


@device
def pack_strip(b_by_columns, b, ldb, p, depth, j, width, strip):
    """Strip (depth, WIDTH) = B[p : p + depth, j : j + width], padded with zeros."""
    row, column = (1, ldb) if b_by_columns else (ldb, 1)  # steps through B
    start = b + SIZE * (p * row + j * column)
    whole = 0  # rows that are copied by vectors
    if width == WIDTH and b_by_columns:
        whole = depth // LANES * LANES
        for first in range(0, whole, LANES):
            for half in range(0, WIDTH, LANES):
                block = start + SIZE * (first + half * ldb)
                transpose_block(block, ldb, strip + SIZE * (first * WIDTH + half), WIDTH)
    elif width == WIDTH:
        whole = depth
        _copy_strip(start, ldb, depth, strip)
    for q in range(whole, depth):
        for r in range(WIDTH):
            number = get(start + SIZE * (q * row + r * column)) if r < width else f4(0)
            put(number, strip + SIZE * (q * WIDTH + r))


@device
def _pack_block(a_by_columns, a, lda, height, depth, block):
    """Block = A (height, depth), one group of rows after the other: each (rows, depth), or (depth, rows) by columns."""
    i = 0
    while i < height:
        rows = _rows_of_next_tile(height - i)
        panel = block + SIZE * i * depth
        if not a_by_columns:
            for r in range(rows):
                copy_row(a + SIZE * (i + r) * lda, depth, panel + SIZE * r * depth)
        elif rows == ROWS and i + LANES <= height:
            _copy_tall(a + SIZE * i, lda, depth, panel)
        else:
            for q in range(depth):
                for r in range(rows):
                    put(get(a + SIZE * (q * lda + i + r)), panel + SIZE * (q * rows + r))
        i += rows


_copy_tall, _copy_strip = copy_rows(ROWS), copy_rows(WIDTH)


@device
def _rows_of_next_tile(left):
    """The rows of the next tile down a column of tiles with ``left`` rows to go: tall tiles first, then 4, 2 and 1."""
    if left >= ROWS:
        return ROWS
    if left >= 4:
        return 4
    return 2 if left >= 2 else 1


@device
def column_of_tiles(a_by_columns, packed, height, depth, a, lda, strip, alpha, beta, c, ldc):
    """C (height, WIDTH) = alpha A (height, depth) strip + beta C, from the tallest tiles down to single rows."""
    in_place = 1 if a_by_columns else lda
    row = SIZE * (depth if packed else in_place)  # bytes from one row of A to the next
    i = 0
    while i < height:
        rows = _rows_of_next_tile(height - i)
        panel, place = a + i * row, c + SIZE * i * ldc
        if packed:
            lda = rows if a_by_columns else depth
        if rows == ROWS:
            _tile_tall(a_by_columns, depth, panel, lda, strip, alpha, beta, place, ldc)
        elif rows == 4:
            _tile_4(a_by_columns, depth, panel, lda, strip, alpha, beta, place, ldc)
        elif rows == 2:
            _tile_2(a_by_columns, depth, panel, lda, strip, alpha, beta, place, ldc)
        else:
            _tile_1(a_by_columns, depth, panel, lda, strip, alpha, beta, place, ldc)
        i += rows


def _tile(rows: int) -> Any:
    """The function for tiles of ``rows`` rows, with A stored either way."""
    by_rows, by_columns = sum_tile(rows, False), sum_tile(rows, True)

    @device
    def tile(a_by_columns, k, a, lda, b, alpha, beta, c, ldc):
        if a_by_columns:
            by_columns(k, a, lda, b, alpha, beta, c, ldc)
        else:
            by_rows(k, a, lda, b, alpha, beta, c, ldc)

    return tile


_tile_tall, _tile_4, _tile_2, _tile_1 = map(_tile, (ROWS, 4, 2, 1))


@device
def _add_edge(edge, height, width, beta, c, ldc):
    """C (height, width) = the first columns of edge (height, WIDTH) + beta C."""
    for i in range(height):
        for j in range(width):
            place = c + SIZE * (i * ldc + j)
            put(get(edge + SIZE * (i * WIDTH + j)) + (beta * get(place) if beta != 0 else f4(0)), place)


def instructions() -> str | None:
    """The instructions that the tiles use, ``"AVX-512"`` or ``"AVX2"``; ``None`` if there are neither."""
    if not {"avx2", "fma"} <= FEATURES:
        return None
    return "AVX-512" if LANES == 16 else "AVX2"


address = CFunction(sgemm, SIGNATURE)
"""The address of the compiled function, which is compiled or loaded from disk on the first call."""
