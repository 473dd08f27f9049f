"""How the matrices of an array lie in memory: what a product needs to step through them without a copy."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ....errors import ShapeError


class Matrices(NamedTuple):
    """The matrices in the last two dimensions of an array (..., R, C); steps count numbers.

    Attributes:
        shape: (R, C).
        leading: the step from one stored row to the next.
        swapped: whether it is the columns that are stored as rows, as in a transposed view.
        sizes: the leading dimensions.
        steps: the step along each of them.
    """

    shape: tuple[int, int]
    leading: int
    swapped: bool
    sizes: tuple[int, ...]
    steps: tuple[int, ...]


def matrices_of(name: str, x: Any) -> Matrices:
    """How the matrices of ``x`` lie.

    Args:
        name: the argument, for the message.
        x: (..., R, C) array of any strides.

    Raises:
        ShapeError: if there are no two dimensions, or neither of them is contiguous in memory.
    """
    if x.ndim < 2:
        raise ShapeError(f"matmul: {name} must have at least two dimensions, got shape {x.shape}")
    *steps, row, column = (step // x.itemsize for step in x.strides)
    *sizes, rows, columns = x.shape
    if (column == 1 or columns <= 1) and (rows <= 1 or row >= columns):
        leading, swapped = row if rows > 1 else columns, False
    elif (row == 1 or rows <= 1) and (columns <= 1 or column >= rows):
        leading, swapped = column if columns > 1 else rows, True
    else:
        raise ShapeError(
            f"matmul: the matrices of {name} lie in memory with steps {row} and {column} for shape ({rows}, "
            f"{columns}); a product needs rows or columns without gaps: pass a contiguous copy"
        )
    return Matrices((rows, columns), max(leading, 1), swapped, tuple(sizes), tuple(steps))


class Loops(NamedTuple):
    """How the products of a batch follow each other.

    Attributes:
        outer: offsets of a, b and out, in numbers, for each call.
        batch: products in one call.
        strides: the steps of a, b and out from one of these to the next.
        rows: how often the rows of a call are repeated, see ``loops``.
    """

    outer: list[tuple[int, int, int]]
    batch: int
    strides: tuple[int, int, int]
    rows: int


def loops(a: Matrices, b: Matrices, out: Matrices) -> Loops:
    """Put the leading dimensions of a product into as few calls as possible.

    Dimensions that follow each other in memory are one. If one ``b`` serves all matrices of ``a``, and these follow
    each other row by row, they are one matrix with more rows. What remains is the batch of a call, and further
    dimensions are calls of their own.
    """
    dimensions = len(out.sizes)
    steps = [
        (_step(a, i - dimensions), _step(b, i - dimensions), out.steps[i]) for i in range(dimensions)
    ]  # from the outermost dimension to the innermost
    merged: list[tuple[int, tuple[int, int, int]]] = []
    for size, step in zip(out.sizes, steps, strict=True):
        if size == 1:
            continue
        if merged and all(before == inner * size for before, inner in zip(merged[-1][1], step, strict=True)):
            merged[-1] = merged[-1][0] * size, step
        else:
            merged.append((size, step))
    rows = 1
    if merged and not a.swapped:
        size, (step_a, step_b, step_out) = merged[-1]
        if step_b == 0 and step_a == a.shape[0] * a.leading and step_out == a.shape[0] * out.leading:
            rows, merged = size, merged[:-1]
    inner = max(range(len(merged)), key=lambda i: merged[i][0], default=None)
    if inner is None:
        return Loops([(0, 0, 0)], 1, (0, 0, 0), rows)
    batch, strides = merged.pop(inner)
    outer: list[tuple[int, int, int]] = [(0, 0, 0)]
    for size, (x, y, z) in merged:
        outer = [(at[0] + i * x, at[1] + i * y, at[2] + i * z) for at in outer for i in range(size)]
    return Loops(outer, batch, strides, rows)


def _step(x: Matrices, dimension: int) -> int:
    """The step of an operand along a dimension of the result, counted from the end: 0 where it is broadcast."""
    if -dimension > len(x.sizes) or x.sizes[dimension] == 1:
        return 0
    return x.steps[dimension]


def result_sizes(a: Matrices, b: Matrices) -> tuple[int, ...]:
    """The leading dimensions of a product, broadcast as in ``numpy.matmul``.

    Raises:
        ShapeError: if they do not fit.
    """
    try:
        return np.broadcast_shapes(a.sizes, b.sizes)
    except ValueError:
        raise ShapeError(f"matmul: leading dimensions {a.sizes} and {b.sizes} do not fit each other") from None


def volume(sizes: tuple[int, ...]) -> int:
    """Number of matrices."""
    return math.prod(sizes)
