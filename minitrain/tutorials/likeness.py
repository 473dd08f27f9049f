"""The likeness of a wrong result to the right one: a factor, an offset, a transposition, a missing sum.

Each function tries one simple mistake, and returns words for it if it explains all of the difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ..backend.arrays import Array

CLOSE = 1e-6  # relative: what agrees this well is equal


def likeness(found: Array, expected: Array, inputs: Mapping[str, Array], others: Mapping[int, Array]) -> str:
    """Describe how a wrong result of the right shape differs; empty if the pattern is not known.

    Args:
        found: the result.
        expected: the right result, of the same shape.
        inputs: the inputs by name.
        others: the other right results by place.
    """
    if not found.any():
        return "it is 0 everywhere"
    return (
        _factor(found, expected)
        or _offset(found, expected)
        or _other(found, inputs, others)
        or _order(found, expected)
        or _signs(found, expected)
        or _by_input(found, expected, inputs)
        or _along_an_axis(found, expected)
        or _places(found, expected)
    )


def likeness_of_shape(found: Array, expected: Array) -> str:
    """Describe how a result of the wrong shape differs; empty if the pattern is not known."""
    if found.size == expected.size and found.size:
        for axes in itertools.permutations(range(found.ndim)):
            if list(axes) != sorted(axes) and _same(found.transpose(axes), expected):
                return "transposed, it is right"
        if _same(found.reshape(-1), expected.reshape(-1)):
            return "the numbers are right: reshape it"
    for count in range(1, found.ndim + 1):
        for axes in itertools.combinations(range(found.ndim), count):
            for name, reduced in (("summed", found.sum(axis=axes)), ("averaged", found.mean(axis=axes))):
                if _same(reduced, expected):
                    return f"{name} over axis {', '.join(map(str, axes))}, it is right"
    return ""


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=CLOSE, atol=CLOSE * float(np.abs(b).max(initial=0.0))))


def _factor(found: Array, expected: Array) -> str:
    square = float((expected * expected).sum())
    factor = float((found * expected).sum()) / square if square else 0.0
    if not factor or not _same(found, factor * expected):
        return ""
    return "every element has the wrong sign" if np.isclose(factor, -1) else f"all are {factor:.6g} times that"


def _offset(found: Array, expected: Array) -> str:
    gap = found - expected
    return f"all are {gap.flat[0]:+.6g} away" if np.allclose(gap, gap.flat[0], rtol=CLOSE, atol=0) else ""


def _other(found: Array, inputs: Mapping[str, Array], others: Mapping[int, Array]) -> str:
    for place, other in others.items():
        if _same(found, other):
            return f"it is what result {place} should be: are two of them swapped?"
    for name, value in inputs.items():
        if _same(found, value):
            return f"it is {name}, unchanged"
    return ""


def _order(found: Array, expected: Array) -> str:
    for axes in itertools.permutations(range(found.ndim)):
        if list(axes) != sorted(axes) and _same(found.transpose(axes), expected):
            return "transposed, it is right"
    for axis in range(found.ndim):
        if found.shape[axis] > 1 and _same(np.flip(found, axis), expected):
            return f"along axis {axis}, it is the wrong way round"
        for by in (1, -1):
            if found.shape[axis] > 2 and _same(np.roll(found, by, axis), expected):
                return f"along axis {axis}, all are one place {'early' if by == 1 else 'late'}"
    if found.size > 2 and _same(np.sort(found, axis=None), np.sort(expected, axis=None)):
        return "the numbers are right, and in the wrong places"
    return ""


def _signs(found: Array, expected: Array) -> str:
    return "all sizes are right, and some signs are wrong" if _same(abs(found), abs(expected)) else ""


def _by_input(found: Array, expected: Array, inputs: Mapping[str, Array]) -> str:
    if found.size < 3:
        return ""  # two numbers agree with many things
    for name, value in inputs.items():
        if value.size > 1 and len(value.shape) <= found.ndim and _broadcasts(value.shape, found.shape):
            if _same(found * value, expected):
                return f"a factor is missing: times {name}, it is right"
            if _same(expected * value, found):
                return f"there is a factor too many: {name}"
            if _same(found + value, expected):
                return f"a term is missing: plus {name}, it is right"
            if _same(expected + value, found):
                return f"there is a term too many: {name}"
    return ""


def _along_an_axis(found: Array, expected: Array) -> str:
    gap = found - expected
    for axis in range(found.ndim):
        if found.shape[axis] < 3 or found.size == found.shape[axis]:
            continue
        square = (expected * expected).sum(axis=axis, keepdims=True)
        factor = (found * expected).sum(axis=axis, keepdims=True) / np.where(square == 0, 1, square)
        if _same(found, factor * expected):
            return f"along axis {axis}, all are wrong by the same factor (a sum or a mean over the wrong axis?)"
        if _same(gap, np.broadcast_to(gap.mean(axis=axis, keepdims=True), gap.shape)):
            return f"along axis {axis}, all are away by the same amount (a sum or a mean that is missing or wrong?)"
    return ""


def _places(found: Array, expected: Array) -> str:
    wrong = np.abs(found - expected) > CLOSE * float(np.abs(expected).max(initial=0.0))
    if found.size == 1 or wrong.all():
        return ""
    for axis in range(wrong.ndim):
        bad: Sequence[int] = np.flatnonzero(wrong.any(axis=tuple(i for i in range(wrong.ndim) if i != axis))).tolist()
        if wrong.ndim > 1 and 2 * len(bad) <= wrong.shape[axis]:
            listed = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
            return f"along axis {axis}, only {listed} of {wrong.shape[axis]} are wrong"
    return f"{int(wrong.sum())} of {wrong.size} elements are wrong"


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    return all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))
