"""A model of AMX and AVX512-BF16 that computes their results, bit for bit, on any processor.

The blocks of ``_tiles`` in plain loops: the same order of sums, the same roundings, numbers below 2^-126 flushed to
zero, with their sign, before and after each instruction. Tests run the product on them where no such unit exists, and
``MINITRAIN_BFLOAT16=amx-model`` repeats a run of another machine. They are a thousand times slower than the units.

Operations: Intel's Software Developer's Manual, volume 2, TDPBF16PS and VDPBF16PS. A number that is not a number may
have other bits here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .._simd import get, put
from ..compiler import exact_device
from ._tiles import LINE, ROWS, SIDE, TILE

LEAST = 2.0**-126  # the least normal float32
FLUSHED = LEAST * (1 - 2.0**-25)  # what is below rounds to less than LEAST with 24 significant bits
f4, f8 = np.float32, np.float64


@intrinsic
def _bfloat16(typing: Any, address: Any) -> Any:
    """The bfloat16 number at ``address`` as a float32."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        bits = builder.load(builder.inttoptr(arguments[0], ir.IntType(16).as_pointer()))
        return builder.bitcast(builder.shl(builder.zext(bits, word), word(16)), ir.FloatType())

    return types.float32(types.int64), codegen


@exact_device
def _normal(x):
    """``x``, or a zero of its sign if it is too small for a normal float32."""
    return math.copysign(0.0, f8(x)) if abs(f8(x)) < LEAST else f8(x)


@exact_device
def _rounded(x):
    """The float64 ``x`` as a float32, flushed to a zero of its sign if it is too small for a normal one."""
    return f4(math.copysign(0.0, x)) if abs(x) < FLUSHED else f4(x)


@exact_device
def _multiply_add(x, y, z):
    """X y + z of float32 numbers, rounded once.

    A product of two bfloat16 numbers has 16 significant bits. If its sum with ``z`` is inexact in float64, one of the
    two is so small that the second rounding finds no tie.
    """
    return _rounded(_normal(x) * _normal(y) + _normal(z))


@exact_device
def tile_block_model(onto, steps, a, b, c, ldc):
    """``_tiles.tile_block``: even and odd steps of a tile are summed apart, then together, then onto C."""
    for i in range(SIDE):
        for j in range(SIDE):
            place = c + i * ldc + 4 * j
            total = get(place) if onto != 0 else f4(0)
            for step in range(steps):
                even = odd = f4(0)
                x = a + 2 * TILE * step + LINE * i
                y = b + 2 * TILE * step + TILE * (j // ROWS) + 4 * (j % ROWS)
                for pair in range(ROWS):
                    even = _multiply_add(_bfloat16(x + 4 * pair), _bfloat16(y + LINE * pair), even)
                    odd = _multiply_add(_bfloat16(x + 4 * pair + 2), _bfloat16(y + LINE * pair + 2), odd)
                total = _rounded(_normal(total) + f8(_rounded(f8(even) + f8(odd))))
            put(total, place)


@exact_device
def pair_block_model(onto, steps, a, b, c, ldc):
    """``_tiles.pair_block``: for each pair of steps, the odd product is added to C, then the even one."""
    for i in range(SIDE):
        for j in range(SIDE):
            place = c + i * ldc + 4 * j
            total = get(place) if onto != 0 else f4(0)
            for pair in range(steps * ROWS):
                x = a + 2 * TILE * (pair // ROWS) + LINE * i + 4 * (pair % ROWS)
                y = b + 2 * TILE * (pair // ROWS) + TILE * (j // ROWS) + LINE * (pair % ROWS) + 4 * (j % ROWS)
                total = _multiply_add(_bfloat16(x + 2), _bfloat16(y + 2), total)
                total = _multiply_add(_bfloat16(x), _bfloat16(y), total)
            put(total, place)
