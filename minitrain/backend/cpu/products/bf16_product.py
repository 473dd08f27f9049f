"""Matrix products of bfloat16 operands: bfloat16 times bfloat16, summed in float32, on the processor's units for it.

The scheme is that of ``sgemm``: a block of A, up to 1 MiB, is packed into the second-level cache; a panel of B, 32
columns, is packed into the first and multiplied by the rows of the block. Blocks of 32 x 32 sums are computed by AMX or
AVX512-BF16 (``_tiles``), or by their models (``_tile_model``). The units take operands in tiles, so both are packed,
and edges are filled with zeros.

Every element of C is summed in the same order, however C is split over threads, and wherever the edges of a part are.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import numpy as np
from numba import types

from .._simd import get_half, keep_alive, put_half
from ..c_function import compiled_address
from ..compiler import device
from ._cblas import SIGNATURE, TRANSPOSED, only_scale
from ._tile_model import pair_block_model, tile_block_model
from ._tiles import LINE, SIDE, TILE, begin_tiles, end_tiles, packing, pair_block, scale_and_add, tile_block

STEPS_REPEATED = 4  # of 32 numbers: panels of 8 KiB each, beside 4 KiB of sums
DEPTH = 512  # steps of the sum at once: a panel of B has 32 KiB
BLOCK_SIZE = 1 << 20  # bytes of a packed block of A
PANEL = 2 * TILE  # bytes of a panel, for 32 steps
HALF, FLOAT = 2, 4  # bytes of a number
f4 = np.float32

_rows, _columns = packing(interleave=False, transpose=False), packing(interleave=False, transpose=True)
_pairs, _pairs_transposed = packing(interleave=True, transpose=False), packing(interleave=True, transpose=True)


def product_on(
    name: str, block: Callable[..., None], begin: Callable[..., None], end: Callable[..., None]
) -> Callable[..., None]:
    """The product on one kind of unit: bfloat16 A and B, float32 C, with the signature of CBLAS's ``sgemm``.

    Args:
        name: of the function, which has a file of its own on disk.
        block: a function of (onto, steps, a, b, c, ldc) for blocks of SIDE x SIDE sums.
        begin: called with the address of 64 free bytes before the first block.
        end: called after the last.
    """

    # The first argument is CBLAS's storage order. It is ignored: kernels always pass row-major.
    def product(order, a_form, b_form, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        """C (m, n) = alpha A (m, k) B (k, n) + beta C, all row-major; A and B may be stored transposed."""
        a_by_columns, b_by_columns = a_form == TRANSPOSED, b_form == TRANSPOSED
        depth = _depth(k)
        panel_size = depth // SIDE * PANEL
        panels = max(1, min(BLOCK_SIZE // panel_size, (m + SIDE - 1) // SIDE))  # of A in a block
        memory = np.empty((panels + 1) * panel_size + SIDE * SIDE * FLOAT + PANEL + 2 * LINE, np.uint8)
        a_panels = (memory.ctypes.data + LINE - 1) // LINE * LINE
        b_panel = a_panels + panels * panel_size
        edge = b_panel + panel_size  # a block of sums
        corner = edge + SIDE * SIDE * FLOAT  # a tile's part of A or B, filled with zeros
        begin(corner + PANEL)
        if k == 0:
            only_scale(c, m, n, ldc, beta)
        for i in range(0, m, panels * SIDE):
            height = min(panels * SIDE, m - i)
            for p in range(0, k, depth):
                width = min(depth, k - p)
                steps = (width + SIDE - 1) // SIDE
                onto = beta if p == 0 else f4(1)
                for r in range(0, height, SIDE):
                    start = a + HALF * (p * lda + i + r if a_by_columns else (i + r) * lda + p)
                    a_panel = a_panels + r // SIDE * steps * PANEL
                    _pack(not a_by_columns, a_by_columns, start, HALF * lda, height - r, width, corner, a_panel)
                for j in range(0, n, SIDE):
                    start = b + HALF * (j * ldb + p if b_by_columns else p * ldb + j)
                    _pack(b_by_columns, b_by_columns, start, HALF * ldb, n - j, width, corner, b_panel)
                    for r in range(0, height, SIDE):
                        a_panel = a_panels + r // SIDE * steps * PANEL
                        place = c + FLOAT * ((i + r) * ldc + j)
                        rows, columns = min(SIDE, height - r), min(SIDE, n - j)
                        _sum(rows, columns, steps, a_panel, b_panel, alpha, onto, place, FLOAT * ldc, edge)
        end()
        keep_alive(memory)

    @device
    def _sum(rows, columns, steps, a_panel, b_panel, alpha, beta, c, ldc, edge):
        """C (rows, columns) = alpha A B + beta C. At the edges of C, the block is computed beside it."""
        if alpha == 1 and (beta == 0 or beta == 1) and rows == SIDE and columns == SIDE:
            block(np.int64(beta), steps, a_panel, b_panel, c, ldc)
            return
        start = alpha == 1 and beta != 0  # the sums start from C, here as above
        if start:
            scale_and_add(c, ldc, rows, columns, beta, f4(0), edge, SIDE * FLOAT)
        block(np.int64(start), steps, a_panel, b_panel, edge, SIDE * FLOAT)
        scale_and_add(edge, SIDE * FLOAT, rows, columns, alpha, f4(0) if start else beta, c, ldc)

    product.__name__ = product.__qualname__ = name
    return product


def repeats_on(
    name: str, block: Callable[..., None], begin: Callable[..., None], end: Callable[..., None]
) -> Callable[..., None]:
    """A function of ``count`` that computes as many blocks of ``STEPS_REPEATED`` steps from the same two panels."""

    def repeats(count):
        panel = STEPS_REPEATED * PANEL
        memory = np.zeros(2 * panel + SIDE * SIDE * FLOAT + 2 * LINE, np.uint8)
        a_panel = (memory.ctypes.data + LINE - 1) // LINE * LINE
        b_panel, sums = a_panel + panel, a_panel + 2 * panel
        begin(sums + SIDE * SIDE * FLOAT)
        for _ in range(count):
            block(np.int64(1), STEPS_REPEATED, a_panel, b_panel, sums, SIDE * FLOAT)
        end()
        keep_alive(memory)

    repeats.__name__ = repeats.__qualname__ = name
    return repeats


@device
def _depth(k):
    """Steps of the sum at once: ``k`` in equal parts of at most DEPTH, rounded up to whole tiles; at least one."""
    k = max(k, 1)
    parts = (k + DEPTH - 1) // DEPTH
    return ((k + parts - 1) // parts + SIDE - 1) // SIDE * SIDE


@device
def _pack(steps_in_rows, transpose, x, ldx, width, depth, corner, panel):
    """Panel = the next 32 rows of A, or columns of B, over ``depth`` steps of the sum.

    x is (width, depth) if the steps lie in its rows, else (depth, width). A tile of A has 16 rows by 32 steps, a tile
    of B 32 steps by 16 columns, so one of the two is transposed.
    """
    for p in range(0, depth, SIDE):
        for half in range(2):
            j = half * SIDE // 2
            out = panel + p // SIDE * PANEL + half * TILE
            if steps_in_rows:
                tile, ldt = _filled(x + j * ldx + HALF * p, ldx, width - j, depth - p, SIDE // 2, SIDE, corner)
                if transpose:
                    _columns(tile, ldt, out)
                else:
                    _rows(tile, ldt, out)
            else:
                tile, ldt = _filled(x + p * ldx + HALF * j, ldx, depth - p, width - j, SIDE, SIDE // 2, corner)
                if transpose:
                    _pairs_transposed(tile, ldt, out)
                else:
                    _pairs(tile, ldt, out)


@device
def _filled(x, ldx, rows, columns, height, width, corner):
    """Where to read (height, width) numbers: at ``x``, or, where x ends before, from a copy filled with zeros."""
    if rows >= height and columns >= width:
        return x, ldx
    for r in range(height):
        for j in range(width):
            number = get_half(x + r * ldx + HALF * j) if r < rows and j < columns else np.uint16(0)
            put_half(number, corner + HALF * (r * width + j))
    return corner, HALF * width


@device
def _nothing():
    pass


@device
def _nothing_with(memory):
    pass


_BLOCKS = {
    "amx": (tile_block, begin_tiles, end_tiles),
    "avx512": (pair_block, _nothing_with, _nothing),
    "amx-model": (tile_block_model, _nothing_with, _nothing),
    "avx512-model": (pair_block_model, _nothing_with, _nothing),
}
PRODUCTS = {unit: product_on(f"{unit.replace('-', '_')}_product", *parts) for unit, parts in _BLOCKS.items()}
REPEATS = {unit: repeats_on(f"{unit.replace('-', '_')}_repeats", *parts) for unit, parts in _BLOCKS.items()}


def repeat_blocks(unit: str, count: int) -> int:
    """Compute ``count`` blocks from data in the first-level cache, on one thread: the unit's own speed.

    Returns:
        The floating-point operations that this took.
    """
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64)(compiled_address(REPEATS[unit], types.void(types.int64)))
    function(count)
    return 2 * SIDE * SIDE * SIDE * STEPS_REPEATED * count


@functools.cache
def address(unit: str) -> int:
    """The address of a unit's product, which is compiled or loaded from disk on the first call."""
    return compiled_address(PRODUCTS[unit], SIGNATURE)
