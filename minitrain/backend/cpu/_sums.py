"""The inner loops of matrix products: sums that stay in registers, written as LLVM instructions; see ``_simd.py``.

Each sum has one order: from the first product to the last, one after the other, whatever is computed beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._simd import CACHE_LINE, FLOAT, INDEX, LANES, NUMBERS, VECTOR, VECTORS, WIDTH, Code

Cell = tuple[int, int]
"""A register of sums: its row, or its strip, and its place there."""


def sum_tile(rows: int, a_by_columns: bool, b_type: str = "float32") -> Callable[..., None]:
    """The function that computes one tile of a product: C (rows, WIDTH) = alpha A B + beta C.

    All sums stay in registers in the loop over ``k``. Each step loads one row of B and one column of A, each once.
    In array code: ``C[:] = alpha * (A @ B) + (beta * C if beta else 0)``.

    Args:
        rows: rows of A and C.
        a_by_columns: whether A is stored as (k, rows) instead of (rows, k).
        b_type: of the numbers in B: ``"float32"``, ``"bfloat16"`` (its 16 bits) or ``"int8"``. They become float32 in
            a register.

    Returns:
        A function of (k, a, lda, b, alpha, beta, c, ldc) with B (k, WIDTH) contiguous and ``k`` at least 1.
    """

    @intrinsic
    def tile(typing: Any, k: Any, a: Any, lda: Any, b: Any, alpha: Any, beta: Any, c: Any, ldc: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            k, a, lda, b, alpha, beta, c, ldc = arguments
            code = Code(builder)
            a, c, b = code.pointer(a), code.pointer(c), code.pointer(b, NUMBERS[b_type])
            for i in range(rows):  # C is needed after ``k`` steps, and would be waited for then
                for j in range(0, WIDTH, CACHE_LINE):
                    code.prefetch(code.at(c, INDEX(i), ldc, j))

            def products(p: Any) -> Iterator[tuple[Cell, Any, Any]]:
                b_row = [code.load_as_float(code.at(b, p, WIDTH, j * LANES), b_type) for j in range(VECTORS)]
                for i in range(rows):
                    place = code.at(a, p, lda, i) if a_by_columns else builder.gep(code.at(a, INDEX(i), lda, 0), [p])
                    factor = code.all_lanes(builder.load(place))
                    yield from (((i, j), factor, b_row[j]) for j in range(VECTORS))

            cells = [(i, j) for i in range(rows) for j in range(VECTORS)]
            added = _added_up(code, builder, k, cells, products)
            alpha = code.all_lanes(alpha)
            scaled = {cell: builder.fmul(added[cell], alpha) for cell in cells}
            places = {(i, j): code.at(c, INDEX(i), ldc, j * LANES) for i, j in cells}
            _store(code, builder, scaled, beta, places)
            return context.get_dummy_value()

        return types.void(types.int64, *[types.int64] * 3, types.float32, types.float32, *[types.int64] * 2), codegen

    return tile  # type: ignore[no-any-return]


def sum_strips(strips: int, b_type: str) -> Callable[..., None]:
    """The function that computes a row of some tiles side by side: C (strips * WIDTH) = a (k,) B + beta C.

    B is in strips (k, WIDTH), one after the other. The additions of one tile alone would wait for each other: those of
    several fill the time.

    Args:
        strips: how many tiles.
        b_type: of the numbers in B, see `sum_tile`.

    Returns:
        A function of (k, a, b, distance, beta, c) with the strips of B ``distance`` numbers apart, ``k`` at least 1.
    """

    @intrinsic
    def row(typing: Any, k: Any, a: Any, b: Any, distance: Any, beta: Any, c: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            k, a, b, distance, beta, c = arguments
            code = Code(builder)
            a, b, c = code.pointer(a), code.pointer(b, NUMBERS[b_type]), code.pointer(c)
            bases = [builder.gep(b, [builder.mul(INDEX(strip), distance)]) for strip in range(strips)]
            cells = [(strip, j) for strip in range(strips) for j in range(VECTORS)]

            def products(p: Any) -> Iterator[tuple[Cell, Any, Any]]:
                factor = code.all_lanes(builder.load(builder.gep(a, [p])))
                for strip, j in cells:
                    yield (strip, j), factor, code.load_as_float(code.at(bases[strip], p, WIDTH, j * LANES), b_type)

            added = _added_up(code, builder, k, cells, products)
            places = {(strip, j): code.at(c, INDEX(strip), WIDTH, j * LANES) for strip, j in cells}
            _store(code, builder, added, beta, places)
            return context.get_dummy_value()

        return types.void(types.int64, *[types.int64] * 3, types.float32, types.int64), codegen

    return row  # type: ignore[no-any-return]


def _added_up(
    code: Code, builder: Any, k: Any, cells: list[Cell], products: Callable[[Any], Iterable[tuple[Cell, Any, Any]]]
) -> dict[Cell, Any]:
    """A loop over ``p`` below ``k`` that adds ``products(p)``, a cell and two factors each, to the cells' sums."""
    zero = ir.Constant(VECTOR, [0.0] * LANES)
    before = builder.basic_block
    walk, done = builder.append_basic_block("walk"), builder.append_basic_block("done")
    builder.branch(walk)

    builder.position_at_end(walk)
    p = builder.phi(INDEX)
    sums = {cell: builder.phi(VECTOR) for cell in cells}
    added = {cell: code.fma(factor, numbers, sums[cell]) for cell, factor, numbers in products(p)}
    p_next = builder.add(p, INDEX(1))
    for phi, first, later in [(p, INDEX(0), p_next), *((sums[cell], zero, added[cell]) for cell in cells)]:
        phi.add_incoming(first, before)
        phi.add_incoming(later, walk)
    builder.cbranch(builder.icmp_signed("<", p_next, k), walk, done)

    builder.position_at_end(done)
    return added


def _store(code: Code, builder: Any, sums: Mapping[Cell, Any], beta: Any, places: Mapping[Cell, Any]) -> None:
    """Store ``sums + beta C``, where C is what is at ``places``."""
    beta_lanes = code.all_lanes(beta)
    with builder.if_else(builder.fcmp_ordered("==", beta, FLOAT(0.0))) as (over, onto):
        with over:  # C is not read: it may be uninitialised, even NaN
            for cell, vector in sums.items():
                code.store(vector, places[cell])
        with onto:
            for cell, vector in sums.items():
                code.store(code.fma(code.load(places[cell]), beta_lanes, vector), places[cell])
