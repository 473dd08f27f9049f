"""Blocks of numbers held in vector registers, written as LLVM instructions; numba has no way to express them.

Each function here adds a few vector instructions to the numba function that calls it. Addresses are integers, and
strides between rows count float32 numbers. One register holds ``LANES`` numbers. AVX-512 has 32 registers, and a tile
of ``ROWS`` by ``WIDTH`` sums takes half of them; AVX2 has 16 and a tile takes 12. ``_sums.py`` has the tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic


def _features() -> set[str]:
    """The processor's features; ``NUMBA_CPU_FEATURES`` overrides them for numba."""
    if config.CPU_FEATURES is not None:
        return {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    return {name for name, there in llvmlite.binding.get_host_cpu_features().items() if there}


FEATURES = _features()
LANES = 16 if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= FEATURES else 8
VECTORS = 2  # registers side by side in a row of a tile
WIDTH = LANES * VECTORS
CACHE_LINE = 16  # float32 numbers
ROWS = 8 if LANES == 16 else 6

FLOAT, INDEX = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
LANE = ir.VectorType(ir.IntType(32), LANES)
NUMBERS = {"float32": FLOAT, "bfloat16": ir.IntType(16), "int8": ir.IntType(8)}


def copy_rows(width: int) -> Callable[..., None]:
    """The function that copies rows of ``width`` numbers side by side, in whole registers.

    Where ``width`` is no multiple of LANES, each row is written over the excess of the one before. Then x is read, and
    out written, up to LANES numbers beyond their ends.

    Returns:
        A function of (x, ldx, n, out) with out (n, width) contiguous = x (n, width), rows ``ldx`` apart.
    """

    @intrinsic
    def copy(typing: Any, x: Any, ldx: Any, n: Any, out: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, ldx, n, out = arguments
            code = Code(builder)
            x, out = code.pointer(x), code.pointer(out)
            with cgutils.for_range(builder, n) as loop:
                for j in range(0, width, LANES):
                    code.store(code.load(code.at(x, loop.index, ldx, j)), code.at(out, loop.index, width, j))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), codegen

    return copy  # type: ignore[no-any-return]


def _row_function(add: bool) -> Callable[..., None]:
    """The function of (x, n, out) with out (n,) = x (n,), or out += x."""

    @intrinsic
    def row(typing: Any, x: Any, n: Any, out: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, n, out = arguments
            code = Code(builder)
            x, out = code.pointer(x), code.pointer(out)
            whole = builder.sdiv(n, INDEX(LANES))
            with cgutils.for_range(builder, whole) as loop:
                number, place = code.load(code.at(x, loop.index, LANES, 0)), code.at(out, loop.index, LANES, 0)
                code.store(builder.fadd(code.load(place), number) if add else number, place)
            with cgutils.for_range_slice(builder, builder.mul(whole, INDEX(LANES)), n, INDEX(1)) as (i, _):
                number, place = builder.load(builder.gep(x, [i])), builder.gep(out, [i])
                builder.store(builder.fadd(builder.load(place), number) if add else number, place)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 3), codegen

    return row  # type: ignore[no-any-return]


copy_row, add_row = _row_function(add=False), _row_function(add=True)


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The registers of the transposed block, from registers that hold its rows: as many lanes each as there are rows.

    Blocks off the diagonal are swapped, first those of half the side, then of a quarter, down to single numbers: four
    rounds of shuffles between pairs of registers (Eklundh, A fast computer method for matrix transposing, 1972).
    """
    rows, n = list(rows), len(rows)
    lane = ir.VectorType(ir.IntType(32), n)
    side = n // 2
    while side:
        for i in (i for i in range(n) if not i & side):
            upper, lower = rows[i], rows[i + side]  # lanes of ``lower`` count from ``n`` on in a shuffle
            keep = [at if not at & side else at - side + n for at in range(n)]
            swap = [at + side if not at & side else at + n for at in range(n)]
            rows[i] = builder.shuffle_vector(upper, lower, ir.Constant(lane, keep))
            rows[i + side] = builder.shuffle_vector(upper, lower, ir.Constant(lane, swap))
        side //= 2
    return rows


@intrinsic
def transpose_block(typing: Any, x: Any, ldx: Any, out: Any, ldo: Any) -> Any:
    """Transpose x (LANES, LANES), with rows ``ldx`` apart, into out (LANES, LANES), with rows ``ldo`` apart."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, ldx, out, ldo = arguments
        code = Code(builder)
        x, out = code.pointer(x), code.pointer(out)
        rows = transposed(builder, [code.load(code.at(x, INDEX(i), ldx, 0)) for i in range(LANES)])
        for i in range(LANES):
            code.store(rows[i], code.at(out, INDEX(i), ldo, 0))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def keep_alive(typing: Any, x: Any) -> Any:
    """Do nothing, but keep ``x`` alive up to here: numba frees an array after its last use, unaware of its address."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_dummy_value()

    return types.void(x), codegen


def _getter(kind: Any, number: Any) -> Callable[..., Any]:
    """The function that reads one number at an address."""

    @intrinsic
    def get(typing: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))

        return number(types.int64), codegen

    return get  # type: ignore[no-any-return]


def _putter(kind: Any, number: Any) -> Callable[..., None]:
    """The function of (number, address) that writes one number."""

    @intrinsic
    def put(typing: Any, value: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.store(arguments[0], builder.inttoptr(arguments[1], kind.as_pointer()))
            return context.get_dummy_value()

        return types.void(number, types.int64), codegen

    return put  # type: ignore[no-any-return]


get, put = _getter(FLOAT, types.float32), _putter(FLOAT, types.float32)
get_half, put_half = _getter(ir.IntType(16), types.uint16), _putter(ir.IntType(16), types.uint16)


class Code:
    """Vector instructions by name, inserted at the position of ``builder``."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        # LLVM uses 256 bits by default. llvmlite's own ``add`` accepts only attributes that it knows.
        set.add(builder.function.attributes, f'"prefer-vector-width"="{32 * LANES}"')

    def pointer(self, address: Any, kind: Any = FLOAT) -> Any:
        """An address as a pointer to float32, or to numbers of another kind."""
        return self._builder.inttoptr(address, kind.as_pointer())

    def at(self, pointer: Any, row: Any, distance: Any, column: int) -> Any:
        """The address of ``column`` in ``row``; rows are ``distance`` apart."""
        distance = INDEX(distance) if isinstance(distance, int) else distance
        start = self._builder.gep(pointer, [self._builder.mul(row, distance)])
        return self._builder.gep(start, [INDEX(column)])

    def load(self, pointer: Any) -> Any:
        """Load one register from any address that is a multiple of 4."""
        loaded = self._builder.load(self._builder.bitcast(pointer, VECTOR.as_pointer()))
        loaded.align = 4
        return loaded

    def load_as_float(self, pointer: Any, numbers: str) -> Any:
        """Load one register of float32, bfloat16 or int8 numbers, as float32."""
        if numbers == "float32":
            return self.load(pointer)
        kind = ir.VectorType(NUMBERS[numbers], LANES)
        loaded = self._builder.load(self._builder.bitcast(pointer, kind.as_pointer()))
        loaded.align = 1
        if numbers == "int8":
            return self._builder.sitofp(self._builder.sext(loaded, LANE), VECTOR)
        upper = self._builder.shl(self._builder.zext(loaded, LANE), ir.Constant(LANE, [16] * LANES))
        return self._builder.bitcast(upper, VECTOR)  # a bfloat16 number is the upper half of a float32

    def store(self, vector: Any, pointer: Any) -> None:
        """Store one register."""
        self._builder.store(vector, self._builder.bitcast(pointer, VECTOR.as_pointer())).align = 4

    def prefetch(self, pointer: Any) -> None:
        """Start loading a cache line that will be written to."""
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(self._builder.module, kind, "llvm.prefetch.p0")
        self._builder.call(function, [self._builder.bitcast(pointer, byte), word(1), word(3), word(1)])

    def all_lanes(self, number: Any) -> Any:
        """A register with one number in all lanes."""
        none, first = ir.Constant(VECTOR, ir.Undefined), ir.Constant(LANE, [0] * LANES)
        return self._builder.shuffle_vector(self._builder.insert_element(none, number, ir.IntType(32)(0)), none, first)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """X y + z, rounded once."""
        three = ir.FunctionType(VECTOR, [VECTOR] * 3)
        function = cgutils.get_or_insert_function(self._builder.module, three, f"llvm.fma.v{LANES}f32")
        return self._builder.call(function, [x, y, z])
