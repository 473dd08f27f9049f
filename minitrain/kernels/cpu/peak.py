"""The most arithmetic that this processor does: a tile of a product, on data in the first-level cache, again and again.

It is part of no operation. Products of whole matrices also move data and pack it; this shows what that costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import prange

from ...backend.cpu._simd import LANES, ROWS, WIDTH, keep_alive, put
from ...backend.cpu._sums import sum_tile
from ...backend.cpu.jit import kernel
from ...backend.cpu.products.bf16_units import bf16_unit
from ...backend.threads import thread_count

DEPTH = 256  # with the tile's rows of A and columns of B: 22 KiB with AVX2, 40 KiB with AVX-512
REPEATS = 5
TILES = 20_000  # a few milliseconds
_BYTES = 4

_tile = sum_tile(ROWS, True)


def float32_peak(tiles: int = TILES) -> float:
    """Floating-point operations per second of multiply-adds of float32, with all threads: the fastest of a few runs.

    Args:
        tiles: how many tiles each thread computes in a run.
    """
    threads = thread_count()

    def seconds() -> float:
        began = time.perf_counter()
        _tiles(tiles, threads)
        return time.perf_counter() - began

    seconds()  # not counted: it compiles the kernel and starts the threads
    return 2.0 * ROWS * WIDTH * DEPTH * tiles * threads / min(seconds() for _ in range(REPEATS))


def bfloat16_peak() -> float:
    """The same for bfloat16, in the blocks of this processor's unit; without a unit, that of float32."""
    unit, threads = bf16_unit(), thread_count()
    if not unit.takes_halves:
        return float32_peak()
    from ...backend.cpu.products.bf16_product import repeat_blocks

    blocks = 10 if unit.is_model else TILES

    def run() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:  # a call through ctypes releases Python's lock
            done = sum(pool.map(lambda _: repeat_blocks(unit.name, blocks), range(threads)))
        return done / (time.perf_counter() - began)

    run()  # not counted: it compiles
    return max(run() for _ in range(REPEATS))


PEAKS: dict[str, Callable[[], float]] = {"float32": float32_peak, "bfloat16": bfloat16_peak}
"""The measurement of each precision. A precision whose products run on units of its own adds its tile here."""


def product_peak(precision: str) -> float:
    """The peak of products whose operands have this precision; those without units of their own run as float32."""
    return PEAKS.get(precision, float32_peak)()


@kernel("void(i8, i8)")
def _tiles(tiles, threads):
    for t in prange(threads):  # noqa: B007
        numbers = DEPTH * (ROWS + WIDTH) + ROWS * WIDTH
        memory = np.empty(numbers + LANES, np.float32)
        a = (memory.ctypes.data + _BYTES * LANES - 1) // (_BYTES * LANES) * (_BYTES * LANES)
        for i in range(numbers):
            put(np.float32(1.0), a + _BYTES * i)
        b = a + _BYTES * DEPTH * ROWS
        c = b + _BYTES * DEPTH * WIDTH
        for _ in range(tiles):
            _tile(DEPTH, a, ROWS, b, np.float32(1.0), np.float32(0.0), c, WIDTH)
        keep_alive(memory)
