"""Compares the gradient of one array with finite differences, element by element and along directions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module, to_numpy
from .differences import Probe, norm, step_lengths
from .report import GradientCheckError
from .settings import CheckSettings
from .slopes import Kind, Slope, find_slope

SMALL = 1e-4  # contributions below this share of the typical one would drown in a sum with the others
SPLITS = 200  # parts of a direction that are looked at one by one, to tell points without a derivative from the rest
NOISE = 1e4  # doubt beyond this many times the rounding may come from points without a derivative
RESOLVING = (3e-3, 1e-3, 3e-4, 1e-4)  # steps whose five-point derivatives agree to ten digits or more
SINGLE_ERROR, CLEAR = 2e-9, 30.0  # what float32 leaves at least, and how many times the doubt must be exceeded
TRIED = 8  # elements of a large part without a derivative that are looked at


class Variable(NamedTuple):
    """An array to differentiate with respect to, and the gradient to check."""

    name: str
    value: Array
    """float64 in C order; moved while measuring, and put back."""
    gradient: Array


class Judgement(NamedTuple):
    """One comparison, along a direction or of an element."""

    analytic: float
    numeric: float
    error: float
    """Relative error; at most the tolerance if the two agree as closely as the numeric one can be known."""
    slope: Slope | None
    """None for an element that cannot be moved."""

    @property
    def kind(self) -> Kind:
        """The kind of the function there."""
        return Kind.SMOOTH if self.slope is None else self.slope.kind


class VariableCheck:
    """All comparisons of one variable.

    Args:
        variable: what to check.
        probe: differentiates.
        settings: how closely to look.
    """

    def __init__(self, variable: Variable, probe: Probe, settings: CheckSettings) -> None:
        self.variable, self._probe, self._settings = variable, probe, settings
        value, gradient = variable.value, variable.gradient
        xp = array_module(value)
        finite = xp.isfinite(gradient)
        self._gradient = xp.where(finite, gradient, 0.0)  # 0 times infinity is NaN
        self._lengths = step_lengths(value) * finite
        self._typical = norm(self._gradient * self._lengths) / math.sqrt(max(1, int((self._lengths > 0).sum())))
        self._splits = SPLITS
        self.special: dict[tuple[int, ...], Judgement] = {}
        """Elements without a derivative, by index."""
        self.measured: dict[int, float] = {}
        """Relative errors of the elements differentiated one by one, by their index in C order."""

    def worst_error(self, rng: np.random.Generator) -> float:
        """The worst relative error; infinite for a gradient that is NaN."""
        value, settings = self.variable.value, self._settings
        xp = array_module(value)
        errors = [0.0]
        alone = range(value.size) if value.size <= settings.elementwise else self._immovable()
        errors += [self.element(i).error for i in alone]
        weights = self._lengths.copy()
        for index in self.special:
            weights[index] = 0.0
        small = self._small(weights)
        for _ in range(settings.directions):
            direction = xp.asarray(rng.standard_normal(value.shape)) * weights
            errors += [self._along(part) for part in (direction, direction * small) if part.any()]
        if self.special:  # such as those of a tie: together they may well have a derivative
            together = xp.zeros(value.shape)
            for index in self.special:
                together[index] = self._lengths[index]
            judgement = self.along(together)
            if judgement.kind in (Kind.SMOOTH, Kind.KINK):
                errors.append(judgement.error)
        return max(errors)

    def element(self, flat: int) -> Judgement:
        """Compare one element, by its index in C order.

        Raises:
            GradientCheckError: if no step gives a derivative there.
        """
        judgement = self._element(flat)
        self.measured[flat] = judgement.error
        return judgement

    def _element(self, flat: int) -> Judgement:
        value = self.variable.value
        index = tuple(int(i) for i in np.unravel_index(flat, value.shape))
        analytic = float(self.variable.gradient[index])
        if not math.isfinite(float(value[index])):  # nothing that is finite depends on it
            return Judgement(analytic, 0.0, 0.0 if analytic == 0 else math.inf, None)
        place = slice(flat, flat + 1)
        alone = value.reshape(-1)[place]  # a view: only this element moves
        gradient, lengths = self._gradient.reshape(-1)[place], step_lengths(alone)
        slope = self._slope(alone, gradient, lengths)
        if slope.kind is not Kind.SMOOTH and 0 < abs(float(alone[0])) < SMALL:  # its scale may be its own size
            slope = min(
                slope, self._slope(alone, gradient, abs(alone)), key=lambda slope: slope.kind is not Kind.SMOOTH
            )
        if slope.kind is Kind.UNKNOWN:
            raise GradientCheckError(self._unknown(index))
        # From the length moved to a length of 1.
        length = float(slope.direction[0])
        low, high, doubt, rounding = (x / length for x in (slope.low, slope.high, slope.doubt, slope.rounding))
        slope = slope._replace(low=low, high=high, doubt=doubt, rounding=rounding)
        judgement = self._judge(analytic, slope, 0.0)
        if slope.kind is not Kind.SMOOTH:
            self.special[index] = judgement
        return judgement

    def along(self, direction: Array) -> Judgement:
        """Compare along a direction, on the scale that such a sum usually has: this one may cancel by chance."""
        slope = self._slope(self.variable.value, self._gradient, direction)
        terms = self._gradient * slope.direction
        return self._judge(float(terms.sum()), slope, norm(terms))

    def resolved_error(self, rng: np.random.Generator) -> float:
        """The relative error along a direction if it is far above what the measurement leaves open, else 0.

        Three steps are compared, which shows more digits than the tolerance needs.
        """
        value = self.variable.value
        if value.size == 0 or self.special:
            return 0.0
        direction = array_module(value).asarray(rng.standard_normal(value.shape)) * self._lengths
        readings = [self._probe.read(value, direction, step) for step in RESOLVING]
        gaps = [float((self._gradient * r.direction).sum()) - r.central for r in readings]
        scale = norm(self._gradient * readings[-1].direction)
        apart, best = min((abs(gaps[i] - gaps[i + 1]) + readings[i].rounding, i) for i in range(len(gaps) - 1))
        error = abs(gaps[best]) / scale if scale else 0.0
        return error if error > SINGLE_ERROR and abs(gaps[best]) > CLEAR * apart else 0.0

    def _slope(self, value: Array, gradient: Array, direction: Array) -> Slope:
        """The derivative by all of the variable, or by a view of a part of it."""
        typical = max(self._typical, norm(gradient * direction))

        def analytic(moved: Array) -> float:
            return float((gradient * moved).sum())

        return find_slope(self._probe, value, direction, analytic, typical, self._settings.tolerance)

    def _judge(self, analytic: float, slope: Slope, scale: float) -> Judgement:
        numeric, tolerance = slope.nearest(analytic), self._settings.tolerance
        if math.isnan(analytic) or math.isnan(numeric):
            return Judgement(analytic, numeric, math.inf, slope)
        if analytic == numeric or (slope.kind is Kind.INFINITE and math.isfinite(analytic)):
            return Judgement(analytic, numeric, 0.0, slope)  # no finite number is nearer to infinity than another
        if math.isinf(analytic):
            return Judgement(analytic, numeric, math.inf, slope)
        gap, scale = abs(analytic - numeric), max(abs(analytic), abs(numeric), scale)
        # Where gradients are near zero, a gap as large as the doubt is just within the tolerance.
        allowed = slope.doubt if gap <= tolerance * scale + slope.doubt else slope.rounding
        error = gap / max(scale + allowed / tolerance, float(np.finfo(np.float64).tiny))
        return Judgement(analytic, numeric, error, slope)

    def _along(self, direction: Array) -> float:
        """The error along a direction, which is split where the function is smooth along a part of it only."""
        judgement, tolerance = self.along(direction), self._settings.tolerance
        slope = judgement.slope
        if judgement.kind is Kind.SMOOTH and slope is not None:
            gap = abs(judgement.analytic - judgement.numeric)
            if judgement.error > tolerance or gap <= tolerance * abs(judgement.numeric) + NOISE * slope.rounding:
                return judgement.error
        parts = list(self._parts(direction)) if self._splits > 0 else []
        self._splits -= len(parts)
        if parts:
            return max(self._along(part) for part in parts)
        indices = np.flatnonzero(to_numpy(direction))
        # All elements are equal, or there are too many different ones to tell them apart.
        chosen = indices[:: math.ceil(indices.size / TRIED)]
        errors = [self.element(int(i)).error for i in chosen]
        together = self.along((direction != 0) * self._lengths)  # along which a tie is smooth
        return max(errors + [j.error for j in (judgement, together) if j.kind in (Kind.SMOOTH, Kind.KINK)])

    def _parts(self, direction: Array) -> Iterator[Array]:
        """Parts of a direction: of elements of similar size, of special values and others, or its two halves."""
        moved = np.flatnonzero(to_numpy(direction))
        values = to_numpy(self.variable.value).reshape(-1)[moved]
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        if counts.size == 1:
            return  # equal ones cannot be told apart
        with np.errstate(divide="ignore"):
            sizes = np.floor(np.log10(abs(values)))  # minus infinity for zeros
        halves = np.arange(moved.size) >= moved.size // 2
        for labels in (sizes, counts[place] > 1, halves):
            if len(kinds := np.unique(labels)) > 1:
                for kind in kinds:
                    chosen = labels == kind
                    scale = min(1.0, 10.0**kind) or 1.0 if labels is sizes else 1.0  # zeros move by all
                    part = np.zeros(direction.size)
                    part[moved[chosen]] = scale
                    yield direction * array_module(direction).asarray(part.reshape(direction.shape))
                return

    def _immovable(self) -> list[int]:
        """Elements that no direction covers: infinite ones, and those whose gradient is. A sample, if many."""
        fixed = np.flatnonzero(to_numpy(self._lengths) == 0)
        return [int(i) for i in fixed[:: max(1, math.ceil(fixed.size / TRIED))]]

    def _small(self, weights: Array) -> Array:
        """1 for elements that contribute little, and far less than the others; else 0."""
        terms = abs(self._gradient * weights)
        return (terms > 0) & (terms < SMALL * self._typical)  # type: ignore[no-any-return]

    def notes(self) -> tuple[str, ...]:
        """A line for each element without a derivative."""
        return tuple(f"{list(index)}: {_describe(found)}" for index, found in sorted(self.special.items()))

    def hint(self, index: tuple[int, ...], wrong: int) -> str:
        """A note about a point without a derivative, or an empty string.

        Args:
            index: of the worst element.
            wrong: how many elements are wrong, each by itself.
        """
        if not wrong and self.special:
            listed = ", ".join(str(list(index)) for index in sorted(self.special)[:TRIED])
            return (
                f"each element is possible by itself, but not all together: {listed} lie on a kink (a tie?), and "
                "moved together they change the output by something else than the sum of their gradients"
            )
        return f"{list(index)} is {_describe(self.special[index])}" if index in self.special else ""

    def _unknown(self, index: tuple[int, ...]) -> str:
        name, value, problem = self.variable.name, float(self.variable.value[index]), self._probe.problem
        why = f" ({problem})" if problem else ""
        return (
            f"no finite difference gives a derivative by {name}{list(index)} = {value:.6g}, with steps from "
            f"{self._settings.step:.0e} times its size down to rounding{why}: "
            "the forward is too noisy there, or not defined around it; choose another input"
        )


def _describe(judgement: Judgement) -> str:
    slope: Any = judgement.slope
    if slope.kind is Kind.KINK:
        return (
            f"a kink, where any derivative from {slope.low:.6g} to {slope.high:.6g} is right; "
            f"the gradient is {judgement.analytic:.6g}"
        )
    if slope.kind is Kind.BORDER:
        return f"a border of the domain or a jump; the derivative from one side is {slope.low:.6g}"
    return f"the derivative is infinite, or the function jumps; the gradient is {judgement.analytic:.6g}"
