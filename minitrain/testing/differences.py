"""Finite differences with one step length, and how far they can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module

ROUNDING = 8 * float(np.finfo(np.float64).eps)
"""Assumed relative error of an output: a few roundings, on their way through a sum or an exponential."""


class Sides(NamedTuple):
    """One-sided derivatives, by the three-point rule: its error is of the order of step**2."""

    right: float
    """Towards larger elements."""
    left: float
    """Towards smaller elements."""
    right_spread: float
    """By how much two rules disagree on the right: more than the error, once the step is short enough."""
    left_spread: float
    low: float
    """The sum over the outputs of the smaller of both derivatives."""
    high: float
    """The sum over the outputs of the larger one."""
    right_quotient: float
    """The plain difference quotient on the right."""
    left_quotient: float


class Reading(NamedTuple):
    """The derivative along a direction, measured with one step length.

    It is that of ``sum(cotangent * output)``. Every number is per unit of ``direction``. NaN means that the forward
    gave NaN or infinity, or raised an error.
    """

    step: float
    direction: Array
    """The direction asked for, as the rounded elements really moved."""
    central: float
    """From both sides, by the five-point rule: its error is of the order of step**4."""
    spread: float
    """By how much two simpler rules disagree: more than the error of ``central``, once the step is short enough."""
    size: float
    """Sum of the changes of all outputs without their signs."""
    rounding: float
    """Error to expect from rounding."""
    sides: Sides | None
    """One-sided derivatives, if they were asked for."""

    @property
    def doubt(self) -> float:
        """By how much ``central`` may be wrong."""
        return self.spread + self.rounding


class Probe:
    """Differentiates ``sum(cotangent * output)`` by moving arrays and putting them back.

    Args:
        evaluate: computes the floating-point outputs from the current contents of the arrays.
        outputs: the outputs before anything moves.
        cotangents: one for each output, float64, of its shape.
        step: relative length of the first step tried.
        rounding: relative error to assume of an output.
    """

    def __init__(
        self,
        evaluate: Callable[[], Sequence[Array]],
        outputs: Sequence[Array],
        cotangents: Sequence[Array],
        step: float,
        rounding: float = ROUNDING,
    ) -> None:
        self._evaluate, self.cotangents, self.step, self.rounding = evaluate, cotangents, step, rounding
        self._baseline = self._weighted(outputs)
        self.scale = norm(self._baseline)
        """The size of the weighted outputs, which bounds what rounding does to them."""
        self.weight = math.hypot(*(norm(c) for c in cotangents))
        """The size of the cotangents."""
        self.problem = ""
        """The last error that the forward raised while an array was moved."""

    def read(self, value: Array, direction: Array, step: float, *, sides: bool = False) -> Reading:
        """Measure along a direction.

        Args:
            value: the array to move, or a view of a part of it; afterwards it is as before.
            direction: where to, of ``value``'s shape.
            step: how far, times ``direction``.
            sides: whether to measure one-sided derivatives, too.
        """
        before = value.astype(np.float64)  # a copy
        with np.errstate(all="ignore"):  # a step may leave the domain of the forward
            # Exact steps: at 1e6, a step of 1e-3 is rounded by 1e-10, which would show in the quotient.
            moved = (before + step * direction).astype(value.dtype)
            moves = array_module(value).where(direction == 0, 0.0, moved.astype(np.float64) - before)
            try:
                right, left, far_right, far_left = (
                    self._change(value, before + times * moves) for times in (1, -1, 2, -2)
                )
            finally:
                value[...] = before
            near, far = right - left, far_right - far_left
            # Output by output, before any sum: a difference of two sums would lose more to cancellation.
            central = float((8 * near - far).sum()) / (12 * step)
            odd, even = near / 2 - far / 4, (far_right + far_left) / 4 - right - left
            spread = float((abs(odd) + abs(even)).sum()) / step
            size = float(abs(near).sum()) / (2 * step)
            rounding = self.rounding * (self.scale / step + (size if math.isfinite(size) else 0.0))
            one_sided = _sides(right, far_right, left, far_left, step) if sides else None
        return Reading(step, moves / step, central, spread, size, rounding, one_sided)

    def _change(self, value: Array, moved: Array) -> Array:
        """The change of the weighted outputs when ``value`` becomes ``moved``; NaN if the forward fails there."""
        value[...] = moved
        try:
            return self._weighted(self._evaluate()) - self._baseline
        except Exception as error:  # the forward's own: it may refuse what lies outside of its domain
            self.problem = f"{type(error).__name__}: {error}"
            return self._baseline * math.nan

    def _weighted(self, outputs: Sequence[Array]) -> Array:
        """All outputs times their cotangents, as one array (n,)."""
        parts = [(c * out).reshape(-1) for c, out in zip(self.cotangents, outputs, strict=True)]
        return parts[0] if len(parts) == 1 else array_module(parts[0]).concatenate(parts)


def _sides(right: Array, far_right: Array, left: Array, far_left: Array, step: float) -> Sides:
    """One-sided derivatives from what the outputs gain one and two steps away."""
    xp = array_module(right)
    above, below = 2 * right - far_right / 2, far_left / 2 - 2 * left
    sums = (
        above.sum(),
        below.sum(),
        abs(right - far_right / 2).sum(),
        abs(left - far_left / 2).sum(),
        xp.minimum(above, below).sum(),
        xp.maximum(above, below).sum(),
        right.sum(),
        -left.sum(),
    )
    return Sides(*(float(x) / step for x in sums))


def step_lengths(value: Array) -> Array:
    """How far each element moves for a step of 1: its own size, at least 1, and 0 if it is NaN or infinite."""
    xp = array_module(value)
    return xp.where(xp.isfinite(value), xp.maximum(abs(value), 1.0), 0.0)  # type: ignore[no-any-return]


def largest(x: Array) -> float:
    """The largest absolute value; 0 for an empty array."""
    return float(abs(x).max()) if x.size else 0.0


def norm(x: Array) -> float:
    """The root of the sum of squares, which may be too large or too small themselves."""
    size = largest(x)
    if size == 0 or not math.isfinite(size):
        return size
    return size * math.sqrt(float(((x / size) ** 2).sum()))
