"""Fits the step of a finite difference to the function, and recognises points without a derivative."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from ..backend.arrays import Array, array_module
from .differences import Probe, Reading

RATIO = 11.0  # between the step lengths tried; no power of 2, which could meet the period of a function again and again
SHORTER, LONGER = 9, 3  # lengths tried on either side of the first one
RESOLVED = 1e-3  # largest spread, relative to the changes themselves, of a step that is short enough
GROWING = 4  # difference quotients that must grow, one after another, before a derivative is called infinite
NOISY = 0.01, 1e4  # a best spread above both (times the changes, times the rounding) leaves the derivative unknown


class Kind(Enum):
    """The kind of the function along a direction."""

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
        """The numeric derivative: of several possible ones, the nearest to ``analytic``, or if that is NaN the least.

        NaN if the derivative is unknown.
        """
        return min(max(self.low, analytic), self.high)  # in this order: the first one stays if either is NaN


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
    if first.spread <= 10 * first.rounding:  # blurred by rounding alone, against which longer steps help
        for exponent in range(LONGER, 0, -1):
            reading = probe.read(value, direction, probe.step * RATIO**exponent)
            if reading.spread <= 10 * reading.rounding and abs(reading.central - first.central) <= first.doubt:
                return _smooth(reading)
    readings: list[Reading] = []

    def gap(reading: Reading) -> float:
        return reading.central - analytic(reading.direction)

    def good(reading: Reading) -> bool:
        return reading.doubt <= 0.1 * tolerance * max(abs(reading.central), abs(analytic(reading.direction)))

    def confirmed(reading: Reading) -> bool:
        """Whether the analytic derivative agrees with it, or another step does: one step may meet a period."""
        enough = tolerance * abs(reading.central)
        return abs(gap(reading)) <= enough or any(
            abs(gap(other) - gap(reading)) <= enough for other in readings[:-1] if good(other)
        )

    # The shorter steps first, beginning with the first one.
    for exponent in (*range(0, -SHORTER - 1, -1), *range(1, LONGER + 1)):
        reading = probe.read(value, direction, probe.step * RATIO**exponent, sides=True)
        readings.append(reading)
        if good(reading) and confirmed(reading):
            return _smooth(reading)
    readings.sort(key=lambda reading: -reading.step)
    size = max(1.0, float(abs(array_module(value).where(direction == 0, 0.0, value)).max()))
    floor = probe.rounding * size * probe.weight
    return _classify(_with_doubts(readings, [gap(reading) for reading in readings], floor), tolerance, floor)


def _agrees(reading: Reading, expected: float, typical: float, tolerance: float) -> bool:
    gap, size = abs(reading.central - expected), max(abs(reading.central), abs(expected))
    return (
        gap <= tolerance * size + reading.rounding
        and reading.spread <= RESOLVED * reading.size + 10 * reading.rounding
        and (reading.rounding <= tolerance * max(typical, size) or size <= reading.rounding)
    )


def _smooth(reading: Reading) -> Slope:
    central = reading.central
    return Slope(Kind.SMOOTH, reading.step, reading.direction, central, central, reading.doubt, reading.rounding)


def _least(readings: Sequence[Reading]) -> Reading:
    """The reading with the least doubt, of those whose step is short enough if there are any.

    Args:
        readings: the steps getting shorter.
    """
    resolved = [reading for reading in readings if reading.spread <= RESOLVED * reading.size]
    return min(resolved or readings, key=lambda reading: _or_infinite(reading.doubt))


def _with_doubts(readings: Sequence[Reading], gaps: Sequence[float], floor: float) -> list[Reading]:
    """The readings, each with the doubt that the others cast on it.

    Args:
        readings: the steps getting shorter.
        gaps: what is to be compared of each, as their directions differ by rounding.
        floor: rounding of the inputs, on its way into the outputs.
    """
    noise = min((reading.size * reading.step for reading in readings if reading.size > 0), default=0.0)
    # The change of an output by noise. The shorter the step, the more it matters.
    noises = [noise]  # nothing can be known better than to the smallest change ever seen
    for reading, shorter in pairwise(readings):
        # A step was short enough, and a shorter one is worse by no more than rounding explains.
        if reading.spread <= NOISY[0] * reading.size and 3 * reading.spread < shorter.spread <= floor / shorter.step:
            noise = max(noise, shorter.spread * shorter.step)
        noises.append(noise)
    corrected = []
    for i, reading in enumerate(readings):
        # A step may show little noise by luck: then shorter ones show it.
        spreads = [other.spread * other.step for other in readings[i:] if math.isfinite(other.spread)]
        doubts = [reading.spread, max([noises[i], *spreads]) / reading.step]
        # What two steps in a row measure must not differ by more than the doubts of both.
        for j in (i - 1, i + 1):
            if 0 <= j < len(readings) and math.isfinite(gaps[j]):
                doubts.append(abs(gaps[i] - gaps[j]) - readings[j].doubt - reading.rounding)
        corrected.append(reading._replace(spread=max(doubts)))  # NaN, the first one, stays
    return corrected


def _classify(readings: Sequence[Reading], tolerance: float, floor: float) -> Slope:
    """Classify a function whose derivative no step gave well enough.

    Args:
        readings: with their sides, the steps getting shorter.
        tolerance: relative error of a derivative that passes.
        floor: rounding of the inputs, on its way into the outputs.
    """
    best = _least(readings)
    if best.doubt <= tolerance * best.size:
        return _smooth(best)
    if (kink := _kink(readings, floor)) and kink.doubt <= 0.1 * _or_infinite(best.doubt):
        return kink
    if best.doubt <= RESOLVED * best.size:
        return _smooth(best)
    right, left = _side(readings, 1, floor), _side(readings, -1, floor)
    finite = [side for side in (right, left) if side.reading is not None]
    infinite = [side.derivative for side in (right, left) if math.isinf(side.derivative)]
    if len(finite) == 1 and (reading := finite[0].reading):
        derivative, doubt = finite[0].derivative, finite[0].doubt
        return Slope(Kind.BORDER, reading.step, reading.direction, derivative, derivative, doubt, reading.rounding)
    if infinite:
        return Slope(Kind.INFINITE, readings[-1].step, readings[-1].direction, min(infinite), max(infinite), 0.0, 0.0)
    if best.spread <= max(NOISY[0] * best.size, NOISY[1] * (best.rounding + floor / best.step)):
        return _smooth(best)
    return Slope(Kind.UNKNOWN, best.step, best.direction, math.nan, math.nan, math.nan, math.nan)


def _kink(readings: Sequence[Reading], floor: float) -> Slope | None:
    """The derivatives from both sides, where they can be measured best."""
    found = []
    for reading in readings:
        if sides := reading.sides:
            doubt = sides.right_spread + sides.left_spread + reading.rounding + floor / reading.step
            if math.isfinite(doubt):
                slope = Slope(
                    Kind.KINK, reading.step, reading.direction, sides.low, sides.high, doubt, reading.rounding
                )
                found.append(slope)
    return min(found, key=lambda slope: slope.doubt, default=None)


class _Side(NamedTuple):
    """The derivative from one side: infinite, or NaN if there is none."""

    derivative: float
    doubt: float
    reading: Reading | None
    """Where a finite one was measured best."""


def _side(readings: Sequence[Reading], sign: int, floor: float) -> _Side:
    """The derivative towards larger elements (``sign`` 1) or smaller ones (-1)."""
    samples: list[tuple[float, float, float, Reading]] = []  # doubt, derivative, quotient
    for reading in readings:
        if reading.sides is not None:
            right, left, right_spread, left_spread, _, _, right_quotient, left_quotient = reading.sides
            derivative, spread, quotient = (
                (right, right_spread, right_quotient) if sign > 0 else (left, left_spread, left_quotient)
            )
            if math.isfinite(derivative):
                samples.append((3 * spread + reading.rounding, derivative, quotient, reading))
    if not samples:
        return _Side(math.nan, math.nan, None)
    if _diverges([(quotient, reading.rounding + floor / reading.step) for _, _, quotient, reading in samples]):
        return _Side(math.copysign(math.inf, samples[-1][2]), 0.0, None)
    doubt, derivative, _, reading = min(samples, key=lambda sample: sample[0])
    return _Side(derivative, doubt, reading)


def _diverges(quotients: Sequence[tuple[float, float]]) -> bool:
    """Whether quotients, given with their errors, grow without bound as the steps get shorter.

    Those of a smooth function settle quickly; those of a root grow by a factor, those of x log(x) by a constant.
    """
    growth = [b - a for (a, _), (b, error) in pairwise(quotients) if abs(b - a) > 10 * error][-GROWING:]
    return (
        len(growth) == GROWING and all(b / a > 0.5 for a, b in pairwise(growth)) and growth[-1] * quotients[-1][0] > 0
    )


def _or_infinite(x: float) -> float:
    return math.inf if math.isnan(x) else x
