"""Blocks of a bfloat16 product, written as LLVM instructions: on AMX tiles, or with AVX-512's dot products of pairs.

Both multiply the same packed operands. A *tile* is 1 KiB: 16 rows of 16 pairs of bfloat16 numbers. A tile of A holds
16 rows by 32 steps of the sum. A tile of B holds 32 steps by 16 columns, with two steps of one column side by side as a
pair. A *panel* is two tiles wide: ``panel[step][half]`` with 32 steps of the sum in each step.

All functions here take addresses as integers. ``ldx`` and ``ldo`` are bytes from one row to the next. AMX is described
in Intel's Software Developer's Manual, volume 1, chapter 18 (Programming with Intel AMX).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .._simd import transposed

ROWS = 16  # of a tile; as many pairs in each row
TILE = 1024  # bytes
SIDE = 2 * ROWS  # rows and columns of a block of sums, and steps in one tile
LINE = 64  # bytes of a row of a tile

_BYTE, _WORD, _INDEX, _FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_PAIRS = ir.VectorType(_WORD, ROWS)  # a row of a tile
_SUMS = ir.VectorType(_FLOAT, ROWS)
_NUMBERS = ir.VectorType(ir.IntType(16), ROWS)
_MASK = ir.VectorType(ir.IntType(1), ROWS)

AMX = "+amx-tile,+amx-bf16"
AVX512 = "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512bf16"
_host = llvmlite.binding.get_host_cpu_features().flatten()


def _allow(builder: Any, features: str) -> None:
    """Let this function use ``features``, whatever the rest is compiled for. It runs only where they were found."""
    for text in (f'"target-features"="{_host},{features}"', '"prefer-vector-width"="512"'):
        set.add(builder.function.attributes, text)  # llvmlite's own ``add`` accepts only attributes that it knows


def _pointer(builder: Any, address: Any, kind: Any = _BYTE) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _at(builder: Any, address: Any, *offsets: tuple[Any, Any]) -> Any:
    """``address`` plus the products in ``offsets``."""
    for number, size in offsets:
        number, size = (_INDEX(x) if isinstance(x, int) else x for x in (number, size))
        address = builder.add(address, builder.mul(number, size))
    return address


def _load(builder: Any, address: Any, kind: Any) -> Any:
    loaded = builder.load(_pointer(builder, address, kind))
    loaded.align = 2  # any row of a bfloat16 matrix
    return loaded


def _store(builder: Any, vector: Any, address: Any) -> None:
    builder.store(vector, _pointer(builder, address, vector.type)).align = 4


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [x.type for x in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def packing(interleave: bool, transpose: bool) -> Callable[..., None]:
    """The function that packs one whole tile.

    Args:
        interleave: x is (32, 16), and rows 2 r and 2 r + 1 become the pairs of row r. Otherwise x is (16, 32) and its
            rows are the rows of the tile.
        transpose: the tile's pairs are transposed then.

    Returns:
        A function of (x, ldx, out) for bfloat16 numbers at ``x`` and a tile at ``out``.
    """

    @intrinsic
    def pack(typing: Any, x: Any, ldx: Any, out: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, ldx, out = arguments
            rows = []
            for r in range(ROWS):
                if interleave:
                    even = _load(builder, _at(builder, x, (ldx, 2 * r)), _NUMBERS)
                    odd = _load(builder, _at(builder, x, (ldx, 2 * r + 1)), _NUMBERS)
                    side_by_side = [i // 2 + ROWS * (i % 2) for i in range(2 * ROWS)]
                    pairs = builder.shuffle_vector(even, odd, ir.Constant(ir.VectorType(_WORD, 2 * ROWS), side_by_side))
                    rows.append(builder.bitcast(pairs, _PAIRS))
                else:
                    rows.append(_load(builder, _at(builder, x, (ldx, r)), _PAIRS))
            for r, row in enumerate(transposed(builder, rows) if transpose else rows):
                _store(builder, row, _at(builder, out, (r, LINE)))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    return pack  # type: ignore[no-any-return]


@intrinsic
def scale_and_add(
    typing: Any, x: Any, ldx: Any, height: Any, width: Any, alpha: Any, beta: Any, out: Any, ldo: Any
) -> Any:
    """Out (height, width) = alpha x + beta out, in float32, at most SIDE columns. With beta = 0, out is not read."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, ldx, height, width, alpha, beta, out, ldo = arguments
        nothing, lanes = ir.Constant(_SUMS, [0.0] * ROWS), ir.Constant(_PAIRS, list(range(ROWS)))
        everywhere = ir.Constant(_PAIRS, [0] * ROWS)

        def all_lanes(number: Any, kind: Any) -> Any:
            none = ir.Constant(kind, ir.Undefined)
            return builder.shuffle_vector(builder.insert_element(none, number, _WORD(0)), none, everywhere)

        def masked_load(address: Any, mask: Any) -> Any:
            name = f"llvm.masked.load.v{ROWS}f32.p0"
            return _call(builder, name, _SUMS, _pointer(builder, address, _SUMS), _WORD(4), mask, nothing)

        alphas, betas = all_lanes(alpha, _SUMS), all_lanes(beta, _SUMS)
        onto = builder.fcmp_ordered("!=", beta, _FLOAT(0.0))
        for half in range(2):
            left = builder.trunc(builder.sub(width, _INDEX(ROWS * half)), _WORD)
            mask = builder.icmp_signed("<", lanes, all_lanes(left, _PAIRS))
            to_read = builder.select(onto, mask, ir.Constant(_MASK, [0] * ROWS))
            with cgutils.for_range(builder, height) as loop:
                place = _at(builder, out, (loop.index, ldo), (half, LINE))
                new = builder.fmul(masked_load(_at(builder, x, (loop.index, ldx), (half, LINE)), mask), alphas)
                total = builder.fadd(new, builder.fmul(masked_load(place, to_read), betas))
                pointer = _pointer(builder, place, _SUMS)
                name = f"llvm.masked.store.v{ROWS}f32.p0"
                _call(builder, name, ir.VoidType(), total, pointer, _WORD(4), mask)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4, types.float32, types.float32, *[types.int64] * 2), codegen


@intrinsic
def begin_tiles(typing: Any, memory: Any) -> Any:
    """Configure AMX: eight tiles of 16 rows by 64 bytes. The 64 bytes at ``memory`` are overwritten."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _allow(builder, AMX)
        words = [0] * 16
        words[0] = 1  # the palette
        words[4:8] = [LINE | LINE << 16] * 4  # bytes of a row, 16 bits for each tile
        words[12:14] = [ROWS * 0x01010101] * 2  # rows, 8 bits for each tile
        _store(builder, ir.Constant(_PAIRS, words), arguments[0])
        _call(builder, "llvm.x86.ldtilecfg", ir.VoidType(), _pointer(builder, arguments[0]))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def end_tiles(typing: Any) -> Any:
    """Release AMX's tiles, so that a context switch need not save them."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _allow(builder, AMX)
        _call(builder, "llvm.x86.tilerelease", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def tile_block(typing: Any, onto: Any, steps: Any, a: Any, b: Any, c: Any, ldc: Any) -> Any:
    """C (SIDE, SIDE) (+)= A B with AMX, for a panel of A and one of B with ``steps`` steps.

    Four tiles hold the sums, two hold A and two B: each step of 32 numbers loads four tiles and multiplies four times.
    With ``onto`` = 0, C is overwritten. Its rows are ``ldc`` bytes apart.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _allow(builder, AMX)
        onto, steps, a, b, c, ldc = arguments

        def tile(instruction: str, number: int, *where: Any) -> None:
            _call(builder, f"llvm.x86.{instruction}", ir.VoidType(), _BYTE(number), *where)

        cells = [(i, j) for i in range(2) for j in range(2)]
        places = {(i, j): _pointer(builder, _at(builder, c, (ROWS * i, ldc), (j, LINE))) for i, j in cells}
        with builder.if_else(builder.icmp_signed("!=", onto, _INDEX(0))) as (add, overwrite):
            with add:
                for i, j in cells:
                    tile("tileloadd64", 2 * i + j, places[i, j], ldc)
            with overwrite:
                for i, j in cells:
                    tile("tilezero", 2 * i + j)
        with cgutils.for_range(builder, steps) as loop:
            for half in range(2):
                place = _at(builder, b, (loop.index, 2 * TILE), (half, TILE))
                tile("tileloadd64", 6 + half, _pointer(builder, place), _INDEX(LINE))
            for i in range(2):
                place = _at(builder, a, (loop.index, 2 * TILE), (i, TILE))
                tile("tileloadd64", 4 + i, _pointer(builder, place), _INDEX(LINE))
                for j in range(2):
                    tile("tdpbf16ps", 2 * i + j, _BYTE(4 + i), _BYTE(6 + j))
        for i, j in cells:
            tile("tilestored64", 2 * i + j, places[i, j], ldc)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


GROUP = 8  # rows of sums in registers at once: 16 of the 32 registers


@intrinsic
def pair_block(typing: Any, onto: Any, steps: Any, a: Any, b: Any, c: Any, ldc: Any) -> Any:
    """C (SIDE, SIDE) (+)= A B like ``tile_block``, with AVX512-BF16: each lane adds the products of one pair."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _allow(builder, AVX512)
        onto, steps, a, b, c, ldc = arguments
        add = builder.icmp_signed("!=", onto, _INDEX(0))
        cells = [(i, j) for i in range(GROUP) for j in range(2)]
        with cgutils.for_range(builder, _INDEX(SIDE // GROUP)) as group:
            first = builder.mul(group.index, _INDEX(GROUP))
            places = {(i, j): _at(builder, c, (builder.add(first, _INDEX(i)), ldc), (j, LINE)) for i, j in cells}
            sums = {cell: cgutils.alloca_once(builder, _SUMS) for cell in cells}
            with builder.if_else(add) as (load, clear):
                with load:
                    for cell in cells:
                        builder.store(_load(builder, places[cell], _SUMS), sums[cell])
                with clear:
                    for cell in cells:
                        builder.store(ir.Constant(_SUMS, [0.0] * ROWS), sums[cell])
            with cgutils.for_range(builder, builder.mul(steps, _INDEX(ROWS))) as loop:
                step, pair = builder.udiv(loop.index, _INDEX(ROWS)), builder.urem(loop.index, _INDEX(ROWS))
                b_rows = [
                    _load(builder, _at(builder, b, (step, 2 * TILE), (j, TILE), (pair, LINE)), _PAIRS) for j in range(2)
                ]
                a_pair = _at(builder, a, (step, 2 * TILE), (first, LINE), (pair, 4))
                for i in range(GROUP):
                    number = builder.load(_pointer(builder, _at(builder, a_pair, (i, LINE)), _WORD))
                    none = ir.Constant(_PAIRS, ir.Undefined)
                    one = builder.insert_element(none, number, _WORD(0))
                    factor = builder.shuffle_vector(one, none, ir.Constant(_PAIRS, [0] * ROWS))
                    for j in range(2):
                        name = "llvm.x86.avx512bf16.dpbf16ps.512"
                        total = _call(builder, name, _SUMS, builder.load(sums[i, j]), b_rows[j], factor)
                        builder.store(total, sums[i, j])
            for cell in cells:
                _store(builder, builder.load(sums[cell]), places[cell])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen
