"""Fits the step of a finite difference to the function, and recognises points without a derivative."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from ..backend.arrays import Array
from .differences import Probe, Reading

RATIO = 11.0  # between the step lengths tried; no power of 2, which could meet the period of a function again and again
SHORTER, LONGER = 9, 3  # lengths tried on either side of the first one
RESOLVED = 1e-3  # largest spread, relative to the changes themselves, of a step that is short enough
GROWING = 4  # difference quotients that must grow, one after another, before a derivative is called infinite
NOISY = 0.01, 1e4  # a best spread above both (times the changes, times the rounding) leaves the derivative unknown


class Kind(Enum):
    """What the function does along a direction."""

    SMOOTH = "smooth"
    KINK = "kink"
    """The derivatives from both sides differ."""
    BORDER = "border"
    """There is a derivative from one side only: the domain ends, or the function jumps, on the other."""
    INFINITE = "infinite"
    """The difference quotients grow without bound."""
    UNKNOWN = "unknown"
    """No step gives a derivative that could be trusted."""


class Slope(NamedTuple):
    """The derivative along a direction.

    The analytic derivative should lie between ``low`` and ``high``, give or take ``doubt``. They are equal unless
    the point is a kink.
    """

    kind: Kind
    step: float
    """Relative length of the step."""
    direction: Array
    """The direction as the rounded elements moved."""
    low: float
    high: float
    doubt: float
    rounding: float

    def nearest(self, analytic: float) -> float:
        """The numeric derivative: of several possible ones, the nearest to ``analytic``."""
        return min(max(analytic, self.low), self.high)


def find_slope(
    probe: Probe,
    value: Array,
    direction: Array,
    analytic: Callable[[Array], float],
    typical: float,
    tolerance: float,
) -> Slope:
    """Measure the derivative along a direction, with as many step lengths as it takes.

    The first step usually settles it. If its derivative and the analytic one disagree, or if it cannot be trusted,
    shorter and longer steps are tried, and the one with the least doubt counts. That choice does not depend on the
    analytic derivative.

    Args:
        probe: measures.
        value: the array to move.
        direction: where to, of ``value``'s shape.
        analytic: gives the analytic derivative along a direction.
        typical: size that such a derivative usually has. What is lost to rounding should be far below it.
        tolerance: relative error of a derivative that passes.
    """
    first = probe.read(value, direction, probe.step)
    expected = analytic(first.direction)
    if _agrees(first, expected, typical, tolerance):
        return _smooth(first)
    readings: list[Reading] = []

    def good(reading: Reading) -> bool:
        return reading.doubt <= 0.1 * tolerance * max(abs(reading.central), abs(analytic(reading.direction)))

    def confirmed(reading: Reading) -> bool:
        """Whether the analytic derivative agrees with it, or another step does: one step may meet a period."""
        gap = abs(reading.central - analytic(reading.direction))
        others = (other for other in readings[:-1] if good(other))
        return gap <= tolerance * abs(reading.central) or any(
            abs(other.central - reading.central) <= tolerance * abs(reading.central) for other in others
        )

    def try_all(exponents: Sequence[int]) -> bool:
        for exponent in exponents:
            reading = probe.read(value, direction, probe.step * RATIO**exponent, sides=True)
            readings.append(reading)
            if good(reading) and confirmed(reading):
                return True
            least = _least(readings).doubt
            if (exponent < 0 and reading.rounding > least) or (exponent > 0 and reading.doubt > 100 * least):
                break  # the rest would be worse
        return False

    longer, shorter = range(1, LONGER + 1), range(0, -SHORTER - 1, -1)
    blurred = first.spread <= 10 * first.rounding  # by rounding, against which longer steps help
    if try_all(longer if blurred else shorter) or try_all(shorter if blurred else longer):
        return _smooth(readings[-1])
    return _classify(sorted(readings, key=lambda reading: -reading.step), tolerance)


def _agrees(reading: Reading, expected: float, typical: float, tolerance: float) -> bool:
    gap, size = abs(reading.central - expected), max(abs(reading.central), abs(expected))
    return (
        gap <= tolerance * size + reading.rounding
        and reading.spread <= RESOLVED * reading.size + 10 * reading.rounding
        and reading.rounding <= tolerance * max(typical, size)
    )


def _smooth(reading: Reading) -> Slope:
    central = reading.central
    return Slope(Kind.SMOOTH, reading.step, reading.direction, central, central, reading.doubt, reading.rounding)


def _least(readings: Sequence[Reading]) -> Reading:
    """The reading with the least doubt."""
    return min(readings, key=lambda reading: _or_infinite(reading.doubt))


def _classify(readings: Sequence[Reading], tolerance: float) -> Slope:
    """What a function is like whose derivative no step gave well enough.

    Args:
        readings: with their sides, the steps getting shorter.
        tolerance: relative error of a derivative that passes.
    """
    best = _least(readings)
    if best.doubt <= tolerance * best.size:
        return _smooth(best)
    if (kink := _kink(readings)) and kink.doubt <= 0.1 * _or_infinite(best.doubt):
        return kink
    if best.doubt <= RESOLVED * best.size:
        return _smooth(best)
    right, left = _side(readings, 1), _side(readings, -1)
    finite = [side for side in (right, left) if side.reading is not None]
    infinite = [side.derivative for side in (right, left) if math.isinf(side.derivative)]
    if len(finite) == 1 and (reading := finite[0].reading):
        derivative = finite[0].derivative
        doubt = finite[0].doubt
        return Slope(
            Kind.BORDER, reading.step, reading.direction, derivative, derivative, doubt, reading.rounding
        )
    if infinite and not finite:
        return Slope(Kind.INFINITE, readings[-1].step, readings[-1].direction, min(infinite), max(infinite), 0.0, 0.0)
    if best.spread <= max(NOISY[0] * best.size, NOISY[1] * best.rounding):
        return _smooth(best)
    return Slope(Kind.UNKNOWN, best.step, best.direction, math.nan, math.nan, math.nan, math.nan)


def _kink(readings: Sequence[Reading]) -> Slope | None:
    """The derivatives from both sides, where they can be measured best."""
    found = [
        Slope(Kind.KINK, reading.step, reading.direction, sides.low, sides.high, doubt, reading.rounding)
        for reading in readings
        if (sides := reading.sides)
        and math.isfinite(doubt := sides.right_spread + sides.left_spread + reading.rounding)
    ]
    return min(found, key=lambda slope: slope.doubt, default=None)


class _Side(NamedTuple):
    """The derivative from one side: infinite, or NaN if there is none."""

    derivative: float
    doubt: float
    reading: Reading | None
    """Where a finite one was measured best."""


def _side(readings: Sequence[Reading], sign: int) -> _Side:
    """The derivative towards larger elements (``sign`` 1) or smaller ones (-1)."""
    samples: list[tuple[float, float, float, Reading]] = []  # doubt, derivative, quotient
    for reading in readings:
        if reading.sides is not None:
            right, left, right_spread, left_spread, _, _, right_quotient, left_quotient = reading.sides
            derivative, spread, quotient = (
                (right, right_spread, right_quotient) if sign > 0 else (left, left_spread, left_quotient)
            )
            if math.isfinite(derivative):
                samples.append((spread + reading.rounding, derivative, quotient, reading))
    if not samples:
        return _Side(math.nan, math.nan, None)
    if _diverges([(quotient, reading.rounding) for _, _, quotient, reading in samples]):
        return _Side(math.copysign(math.inf, samples[-1][2]), 0.0, None)
    doubt, derivative, _, reading = min(samples, key=lambda sample: sample[0])
    return _Side(derivative, doubt, reading)


def _diverges(quotients: Sequence[tuple[float, float]]) -> bool:
    """Whether quotients, given with their errors, grow without bound as the steps get shorter.

    Those of a smooth function settle quickly; those of a root grow by a factor, those of x log(x) by a constant.
    """
    growth = [b - a for (a, _), (b, error) in pairwise(quotients) if abs(b - a) > 10 * error][-GROWING:]
    return len(growth) == GROWING and all(b / a > 0.5 for a, b in pairwise(growth)) and growth[-1] * quotients[-1][0] > 0


def _or_infinite(x: float) -> float:
    return math.inf if math.isnan(x) else x
