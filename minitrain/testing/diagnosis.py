"""Patterns of wrong gradients: a factor, a transposition, a shift, a swap, a mask, a missing term.

Each function tries one simple correction of the analytic gradient. It explains the mistake if the corrected gradient
agrees with the numeric one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..backend.arrays import Array

EXPLAINED = 1e-3  # share of the disagreement that an explanation may leave


class Evidence(NamedTuple):
    """A wrong gradient next to the numeric one: the whole arrays, or flat samples of large ones."""

    analytic: Array
    numeric: Array
    errors: Array
    """Relative errors, laid out like the other two."""
    indices: Array
    """Where the elements lie in the full array, in C order."""
    shape: tuple[int, ...]
    """Shape of the full array."""
    whole: bool
    error: float
    """Worst relative error along a random direction."""
    known: Mapping[str, Array]
    """Arrays that broadcast to the shape (or their samples), by what a reader would call them."""
    matrices: Mapping[str, Array]
    """Square matrices as wide as the last axis, by name; none for samples."""
    scaled: Mapping[str, Array] = {}
    """Gradients of the backward when the gradient of the output is first multiplied by something, by its name."""
    shares: Mapping[str, Array] = {}
    """Terms that a second use of the argument could add to its gradient, in words."""


def diagnose(evidence: Evidence, others: Mapping[str, Array], tolerance: float) -> str:
    """Name the mistake that fits the pattern, or return an empty string.

    Args:
        evidence: the wrong gradient and the numeric one.
        others: numeric gradients of the other arguments that are wrong too, by name.
        tolerance: relative error up to which an element counts as right.
    """
    analytic, numeric = evidence.analytic, evidence.numeric
    if not np.isfinite(analytic).all():
        return "the gradient is not finite: the backward divides by zero, takes log(0), or overflows"
    if not analytic.any():
        return "the gradient is zero everywhere: a missing term, this argument's whole contribution"
    if not numeric.any():
        return "the gradient should be zero: an extra term, or an argument that does not affect the output"
    return (
        _factor(analytic, numeric)
        or (_shift(analytic, numeric) or _order(analytic, numeric) if evidence.whole else "")
        or _swap(analytic, numeric, others)
        or _known_factor(analytic, numeric, evidence.known)
        or _scaled(analytic, numeric, evidence.scaled)
        or _known_term(analytic, numeric, evidence.known)
        or _share(analytic, numeric, evidence.shares)
        or _mask(evidence, tolerance)
        or _transposed_product(analytic, numeric, evidence.matrices)
        or (_known_sum(analytic, numeric, evidence.known) if evidence.whole else "")
        or (_place(evidence, tolerance) if evidence.whole else "")
        or _term(analytic, numeric)
    )


def _explains(analytic: Array, corrected: Array, numeric: Array) -> bool:
    """Whether the correction leaves (almost) nothing of the disagreement."""
    return _norm(corrected - numeric) <= EXPLAINED * _norm(analytic - numeric)


def _norm(x: Array) -> float:
    return math.sqrt(float((x * x).sum()))


def _factor(analytic: Array, numeric: Array) -> str:
    """A wrong constant: ``analytic = factor * numeric``."""
    factor = float((analytic * numeric).sum()) / float((numeric * numeric).sum())
    if factor == 0 or not _explains(analytic, analytic / factor, numeric):
        return ""
    if abs(factor + 1) < EXPLAINED:
        return "every element has the wrong sign"
    return f"every element is {factor:.6g} times what it should be: a wrong scale, a constant factor"


def _order(analytic: Array, numeric: Array) -> str:
    """The right numbers in the wrong places."""
    for axes in itertools.permutations(range(numeric.ndim)):
        transposed = analytic.transpose(axes)
        if list(axes) == sorted(axes):
            continue
        if transposed.shape == numeric.shape and _explains(analytic, transposed, numeric):
            return f"it is transposed: gradient.transpose{axes} is right"
        if _explains(analytic, analytic.reshape(transposed.shape).transpose(np.argsort(axes)), numeric):
            return "it is transposed: the right numbers, reshaped from an array with its axes in another order"
    a, n = np.sort(analytic, axis=None), np.sort(numeric, axis=None)
    if _norm(a - n) <= EXPLAINED * _norm(analytic - numeric):
        return "the right numbers in the wrong places: a transposition, a flip, or a reshape too many"
    return ""


def _swap(analytic: Array, numeric: Array, others: Mapping[str, Array]) -> str:
    """The gradient of another argument."""
    for name, other in others.items():
        if other.shape == analytic.shape and _norm(analytic - other) <= EXPLAINED * _norm(analytic - numeric):
            return f"it is the gradient of {name}: the two are swapped"
    return ""


def _known_factor(analytic: Array, numeric: Array, known: Mapping[str, Array]) -> str:
    """A forgotten, or superfluous, elementwise factor."""
    for name, x in known.items():
        if _explains(analytic, analytic * x, numeric):
            return f"a factor is missing: times {name}, element by element, it is right"
        if x.all() and _explains(analytic, analytic / x, numeric):
            return f"there is a factor too many: divided by {name}, element by element, it is right"
    return ""


def _known_term(analytic: Array, numeric: Array, known: Mapping[str, Array]) -> str:
    """A forgotten, or superfluous, term that is proportional to something known."""
    gap = numeric - analytic
    for name, x in known.items():
        square = float((x * x).sum())
        if square == 0:
            continue
        factor = float((gap * x).sum()) / square
        if factor and _explains(analytic, analytic + factor * x, numeric):
            times = "" if abs(abs(factor) - 1) < EXPLAINED else f"{abs(factor):.6g} times "
            if factor < 0:
                return f"a term too many: minus {times}{name}, it is right"
            return f"a missing term: plus {times}{name}, it is right (a dropped residual?)"
    return ""


def _scaled(analytic: Array, numeric: Array, scaled: Mapping[str, Array]) -> str:
    """A factor that belongs to the gradient of the output, before all else: the weight of a norm."""
    for name, corrected in scaled.items():
        if analytic.size > 2 and _explains(analytic, corrected, numeric):
            return (
                f"a factor is missing: multiply the gradient of the output by {name} first, and the rest is right "
                "(the weight of a norm?)"
            )
    return ""


def _share(analytic: Array, numeric: Array, shares: Mapping[str, Array]) -> str:
    """Find the term that another use of the argument adds to its gradient, and that was overwritten or forgotten."""
    for words, share in shares.items():
        if analytic.size > 2 and _explains(analytic, analytic + share, numeric):
            return (
                f"a missing term: plus {words}, it is right (is it used twice? then the shares of all uses add up, "
                "with += and not with =)"
            )
    return ""


def _known_sum(analytic: Array, numeric: Array, known: Mapping[str, Array]) -> str:
    """A term that is something known times a sum over an axis, as the backward of a softmax or of a norm has."""
    gap = numeric - analytic
    for axis in range(gap.ndim):
        for name, x in known.items():
            square = (x * x).sum(axis=axis, keepdims=True)
            factor = (gap * x).sum(axis=axis, keepdims=True) / np.where(square == 0, 1, square)
            if gap.shape[axis] > 2 and _explains(analytic, analytic + factor * x, numeric):
                return (
                    f"a missing term, or a wrong one: {name} times a factor that is the same all along axis {axis} "
                    "(a sum or a mean over it?)"
                )
    return ""


def _mask(evidence: Evidence, tolerance: float) -> str:
    """Right where it is zero, or where it should be."""
    analytic, numeric = evidence.analytic, evidence.numeric
    noise = EXPLAINED * abs(numeric).max()
    off, zero = abs(numeric) <= noise, analytic == 0
    if not off.any() or off.all():
        return ""
    if (zero == ~off).all():
        return "it is zero where it should not be and not where it should: a mask the wrong way round"
    if (evidence.errors <= tolerance)[~off].all():
        return f"{int((off & ~zero).sum())} elements should be zero, all others are right: a missing mask"
    return ""


def _shift(analytic: Array, numeric: Array) -> str:
    """The right numbers, a few places further along an axis."""
    for axis in range(numeric.ndim):
        size = numeric.shape[axis]
        a, n = np.moveaxis(analytic, axis, 0), np.moveaxis(numeric, axis, 0)
        for by in (*range(1, min(size, 4)), *range(-1, -min(size, 4), -1)):
            there, here = (a[by:], n[:-by]) if by > 0 else (a[:by], n[-by:])
            if here.any() and _norm(there - here) <= EXPLAINED * _norm(here):
                return f"the right numbers, shifted by {by} along axis {axis}"
    return ""


def _transposed_product(analytic: Array, numeric: Array, matrices: Mapping[str, Array]) -> str:
    """``d @ weight`` for ``d @ weight.T``, or the other way round, with a square weight."""
    for name, m in matrices.items():
        for right, wrong, words in ((m, m.T, f"the transpose of {name}"), (m.T, m, f"{name} and not its transpose")):
            try:
                corrected = analytic @ np.linalg.solve(wrong, right)
            except np.linalg.LinAlgError:
                continue
            if _explains(analytic, corrected, numeric):
                return f"a transposition: it was multiplied by {words}"
    return ""


def _place(evidence: Evidence, tolerance: float) -> str:
    """Right in some slices, wrong in others."""
    wrong = ~(evidence.errors <= tolerance)
    for axis in range(wrong.ndim):
        bad = sorted(set(np.nonzero(wrong)[axis].tolist()))
        if 0 < len(bad) < wrong.shape[axis]:
            listed = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
            return (
                f"along axis {axis}, only {listed} of {wrong.shape[axis]} indices are wrong: a missing term "
                "there (an edge, a mask, a contribution that was overwritten instead of added)"
            )
    return ""


def _term(analytic: Array, numeric: Array) -> str:
    """One of several terms: it points the right way in part."""
    gap = numeric - analytic
    zero = (analytic == 0) & (numeric != 0)
    if zero.any():
        return f"{int(zero.sum())} elements are zero that should not be: a missing term"
    for axis in range(gap.ndim):
        if gap.shape[axis] > 1 and _explains(analytic, analytic + gap.mean(axis=axis, keepdims=True), numeric):
            return f"a missing term, the same all along axis {axis} (a sum or a mean that was left out?)"
    cosine = float((analytic * numeric).sum()) / (_norm(analytic) * _norm(numeric))
    if cosine > 0.3:
        return (
            f"it agrees in part (cosine {cosine:.2f}): a missing term, or one too many (if it is used twice, the "
            "shares of all uses add up)"
        )
    return ""
