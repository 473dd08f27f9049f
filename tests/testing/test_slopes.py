"""How a step is chosen and a point without a derivative recognised, rule by rule, on readings made up for it.

Numbers are sums of powers of two, so that a limit can be met exactly.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.testing import slopes
from minitrain.testing.differences import Reading, Sides
from minitrain.testing.slopes import Kind, Slope

NAN, INF, BIT = math.nan, math.inf, 2.0**-10
WAY = np.array([1.0])


@pytest.fixture(autouse=True)
def _exact_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slopes, "RESOLVED", 0.25)
    monkeypatch.setattr(slopes, "NOISY", (0.5, 16.0))


def reading(
    step: float = 0.25,
    central: float = 2.0,
    spread: float = 0.0,
    size: float = 4.0,
    rounding: float = 0.0,
    sides: Sides | None = None,
    way: Any = WAY,
) -> Reading:
    return Reading(step, way, central, spread, size, rounding, sides)


def sides(**given: float) -> Sides:
    usual = dict.fromkeys(Sides._fields, 0.0)
    return Sides(**usual | given)


# One step.


def test_a_first_step_agrees_by_three_rules():
    """The gap, the spread and the rounding each have a limit; where there is nothing but rounding, that will do."""
    tolerance = 0.5
    for central, expected, spread, size, rounding, typical in itertools.product(
        (-2.0, 0.0, 1.0, 3.0),
        (-3.0, 0.0, 1.0, 2.0),
        (0.0, 1.0, 3.0, 5.5, 6.0),
        (0.0, 4.0),
        (0.0, 0.5, 1.0, 2.0),
        (0.0, 2.0, 8.0),
    ):
        larger = max(abs(central), abs(expected))
        near = abs(central - expected) - rounding <= larger / 2
        resolved = spread - 10 * rounding <= size / 4
        known = 2 * rounding <= typical or 2 * rounding <= larger or larger <= rounding
        found = slopes._agrees(reading(0.25, central, spread, size, rounding), expected, typical, tolerance)
        assert found == (near and resolved and known)


def test_a_smooth_point_has_one_derivative():
    assert slopes._smooth(reading(0.25, -2.0, 0.5, 4.0, 0.125)) == Slope(
        Kind.SMOOTH, 0.25, WAY, -2.0, -2.0, 0.625, 0.125
    )


def test_the_least_doubt_counts_among_steps_that_are_short_enough():
    short = reading(spread=1.0, size=4.0, rounding=5.0)  # at the limit
    coarse = reading(spread=0.5, size=1.0)
    broken = reading(spread=NAN)
    better = reading(spread=0.5, size=4.0, rounding=0.25)
    assert slopes._least([coarse, short]) is short
    assert slopes._least([short, better, coarse]) is better
    assert slopes._least([broken, coarse, reading(spread=0.75, size=1.0)]) is coarse
    assert slopes._least([reading(spread=1.0 + BIT, size=4.0), coarse]) is coarse
    assert slopes._least([broken]) is broken


# Several steps.

NUMBERS = st.sampled_from([0.0, 0.125, 0.5, 1.0, 2.0, 3.0, 6.0, 24.0])


@settings(max_examples=400)
@given(data=st.data(), count=st.integers(1, 5), floor=st.sampled_from([0.0, 0.5, 2.0, 8.0]))
def test_steps_cast_doubt_on_each_other(data, count, floor):
    """The doubt of a step is the largest of what it shows, what noise does to it, and how far its neighbours differ."""
    steps = sorted(data.draw(st.lists(st.integers(-4, 1), min_size=count, max_size=count, unique=True)), reverse=True)
    odd = NUMBERS | st.sampled_from([NAN, INF])
    readings = [
        reading(2.0**step, 0.0, data.draw(odd), data.draw(NUMBERS), data.draw(st.sampled_from([0.0, 0.25])))
        for step in steps
    ]
    gaps = [data.draw(st.sampled_from([0.0, 1.0, -3.0, 8.0, NAN])) for _ in steps]
    noise = [min((one.size * one.step for one in readings if one.size != 0), default=0.0)] * count
    for i in range(count - 1):
        step, shorter = readings[i], readings[i + 1]
        if step.spread <= step.size / 2 and shorter.spread > 3 * step.spread and shorter.spread * shorter.step <= floor:
            for k in range(i + 1, count):
                noise[k] = max(noise[k], shorter.spread * shorter.step)
    for i, found in enumerate(slopes._with_doubts(readings, gaps, floor)):
        one = readings[i]
        assert found._replace(spread=0) == one._replace(spread=0)
        if math.isnan(one.spread):
            assert math.isnan(found.spread)
            continue
        loud = max([noise[i], *(r.spread * r.step for r in readings[i:] if math.isfinite(r.spread))])
        doubts = [one.spread, loud / one.step]
        for other, gap in list(zip(readings, gaps, strict=True))[max(0, i - 1) : i + 2]:
            if other is not one and math.isfinite(gap) and math.isfinite(gaps[i]):
                doubts.append(abs(gap - gaps[i]) - other.spread - other.rounding - one.rounding)
        assert found.spread == max(doubt for doubt in doubts if not math.isnan(doubt))


def test_a_shorter_step_that_is_worse_by_rounding_tells_of_noise():
    first = reading(1.0, spread=2.0, size=4.0)
    for spread, size, floor, noise in [
        (6.0 + BIT, 4.0, 0.5 * (6 + BIT), 0.5 * (6 + BIT)),
        (6.0, 4.0, 8.0, 0.0),  # not three times as bad
        (8.0, 4.0, 4.0 - BIT, 0.0),  # more than rounding explains
        (8.0, 4.0 - BIT, 8.0, 0.0),  # the longer step was not short enough
    ]:
        readings = [first._replace(size=size), reading(0.5, spread=spread), reading(0.25, spread=0.0, size=0.0)]
        found = slopes._with_doubts(readings, [NAN] * 3, floor)
        least = min(size * 1.0, 4.0 * 0.5)  # the smallest change of all
        assert found[2].spread == max(noise, least) / 0.25


def test_the_smallest_change_ever_seen_bounds_what_can_be_known():
    found = slopes._with_doubts([reading(1.0, size=4.0), reading(0.5, size=0.0), reading(0.25, size=2.0)], [NAN] * 3, 0)
    assert [one.spread for one in found] == [0.5, 1.0, 2.0]
    assert [one.spread for one in slopes._with_doubts([reading(size=0.0)] * 2, [NAN] * 2, 0)] == [0, 0]


def test_a_neighbour_that_measured_nothing_casts_no_doubt():
    found = slopes._with_doubts([reading(1.0), reading(0.5), reading(0.25)], [0.0, INF, 0.0], 0)
    assert [one.spread for one in found] == [1.0, INF, 4.0]


# Kinks, borders and the rest.

TO_BOTH = sides(right=3.0, left=-1.0, low=-1.0, high=3.0, right_quotient=3.0, left_quotient=-1.0)


def test_a_kink_is_measured_where_it_is_known_best():
    near, far = (TO_BOTH._replace(right_spread=r, left_spread=0.25) for r in (0.5, 2.0))
    readings = [
        reading(1.0, sides=far),
        reading(0.5, sides=near._replace(low=-1.5), rounding=0.125),
        reading(0.25),
        reading(0.125, sides=near, rounding=0.125),
        reading(0.0625, sides=TO_BOTH._replace(right_spread=NAN)),
    ]
    expected = Slope(Kind.KINK, 0.5, WAY, -1.5, 3.0, 0.5 + 0.25 + 0.125 + 0.5 / 0.5, 0.125)
    assert slopes._kink(readings, 0.5) == expected
    assert slopes._kink([readings[2], readings[4]], 0.5) is None


def test_a_side_is_measured_where_it_is_known_best():
    readings = [
        reading(1.0, rounding=0.5, sides=sides(right=3.0, left=-1.0, right_spread=0.5, left_spread=0.125)),
        reading(0.5, rounding=0.5, sides=sides(right=4.0, left=-2.0, right_spread=0.25, left_spread=0.25)),
        reading(0.25, rounding=2.0, sides=sides(right=5.0, left=-3.0, right_spread=0.0, left_spread=0.0)),
        reading(0.125),
        reading(0.0625, sides=sides(right=NAN, left=INF)),
    ]
    assert slopes._side(readings, 1, 0.0) == (4.0, 0.75 + 0.5, readings[1])
    assert slopes._side(readings, -1, 0.0) == (-1.0, 0.375 + 0.5, readings[0])
    for sign in (1, -1):
        nothing = slopes._side(readings[3:], sign, 0.0)
        assert nothing.reading is None
        assert math.isnan(nothing.derivative)
        assert math.isnan(nothing.doubt)


def growing(right: list[float], left: list[float], **more: Any) -> list[Reading]:
    """Readings at ever shorter steps, with these quotients."""
    return [
        reading(2.0**-i, sides=sides(right=r, left=s, right_quotient=r, left_quotient=s), **more)
        for i, (r, s) in enumerate(zip(right, left, strict=True))
    ]


UP = [1.0, 2.0, 4.0, 8.0, 16.0]
FLAT = [3.0] * 5


def test_a_side_whose_quotients_grow_is_infinite():
    for sign in (1, -1):
        quotients = (UP, FLAT) if sign == 1 else (FLAT, UP)
        assert slopes._side(growing(*quotients), sign, 0.0) == (INF, 0.0, None)
        down = [[-x for x in one] for one in quotients]
        assert slopes._side(growing(*down), sign, 0.0) == (-INF, 0.0, None)
        assert slopes._side(growing(*quotients[::-1]), sign, 0.0).derivative == 3.0
        # Growth that rounding explains is none: of an output, or of an input, which matters more at short steps.
        assert slopes._side(growing(*quotients, rounding=0.8), sign, 0.0).reading is not None
        assert slopes._side(growing(*quotients), sign, 0.0125).derivative == INF
        assert slopes._side(growing(*quotients), sign, 0.0625).reading is not None


def test_an_infinite_side_has_the_sign_of_the_quotient_of_the_shortest_step():
    """Whatever the longer steps say, and the difference of two of them, which is the derivative elsewhere."""
    readings = [
        reading(2.0**-i, sides=sides(right=-1.0, right_quotient=quotient))
        for i, quotient in enumerate([-7.0, -5.0, -3.0, -1.0, 1.0])
    ]
    assert slopes._side(readings, 1, 0.0) == (INF, 0.0, None)


@pytest.mark.parametrize(
    ("quotients", "diverges"),
    [
        (UP, True),
        ([-x for x in UP], True),
        ([0.0, 1.0, 2.0, 3.0, 4.0], True),  # as x log x does
        (UP[:4], False),
        ([100.0, 0.0, 1.0, 2.0, 3.0, 4.0], True),  # the last four count
        ([0.0, 8.0, 12.0, 14.0, 15.0], False),  # each half of the one before: it settles
        ([0.0, 8.0, 12.0 + BIT, 14.0 + 2 * BIT, 15.5], True),
        ([0.0, 8.0, 12.0, 16.0, 20.0], False),
        ([0.0, 4.0, 8.0, 4.0, 0.0], False),
        ([-20.0, -16.0, -12.0, -8.0, -4.0], False),  # towards zero
        ([-16.0, -12.0, -8.0, -4.0, 0.0], False),
        ([20.0, 16.0, 12.0, 8.0, 4.0], False),
        ([-7.0, -5.0, -3.0, -1.0, 1.0], True),  # away from zero in the end
    ],
)
def test_what_grows_without_bound(quotients, diverges):
    assert slopes._diverges([(one, 0.0) for one in quotients]) is diverges


def test_growth_counts_if_it_is_more_than_ten_errors_of_the_shorter_step():
    for error, diverges in [(0.0999, True), (0.1, False), (1.0, False)]:
        quotients = [(0.0, 0.0), (1.0, 0.0), (2.0, error), (3.0, 0.0), (4.0, 0.0)]
        assert slopes._diverges(quotients) is diverges
    assert slopes._diverges([(0.0, 9.0), (1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0)])


def classified(readings: list[Reading], tolerance: float = 0.125, floor: float = 0.0) -> Slope:
    return slopes._classify(readings, tolerance, floor)


def test_what_is_within_the_tolerance_is_smooth_whatever_else_it_may_be():
    one = reading(spread=0.5, size=4.0, sides=TO_BOTH)
    assert classified([one]) == slopes._smooth(one)
    assert classified([one._replace(spread=0.5 + BIT)]).kind is Kind.KINK


@pytest.mark.parametrize(("spread", "kind"), [(1.0, Kind.KINK), (1.0 + BIT, Kind.UNKNOWN)])
def test_a_kink_is_known_ten_times_as_well_as_anything_else(spread, kind):
    found = classified([reading(spread=10.0, size=4.0, sides=TO_BOTH._replace(right_spread=spread))])
    assert found.kind is kind
    if kind is Kind.KINK:
        assert found == Slope(Kind.KINK, 0.25, WAY, -1.0, 3.0, 1.0, 0.0)
    else:
        assert found[:2] == (Kind.UNKNOWN, 0.25)
        assert found.direction is WAY
        assert all(map(math.isnan, found[3:]))


def test_a_point_where_only_the_kink_is_known():
    assert classified([reading(spread=NAN, sides=TO_BOTH._replace(right_spread=1e6))]).kind is Kind.KINK


def test_a_step_that_is_short_enough_is_smooth(monkeypatch):
    monkeypatch.setattr(slopes, "NOISY", (BIT, 0.0))
    assert classified([one := reading(spread=1.0, size=4.0)], BIT) == slopes._smooth(one)
    assert classified([reading(spread=1.0 + BIT, size=4.0)], BIT).kind is Kind.UNKNOWN


@pytest.mark.parametrize("other", [NAN, INF])
def test_a_border_has_a_derivative_from_one_side(other):
    for one, expected in (
        (sides(right=3.0, left=other, right_spread=0.5), 3.0),
        (sides(right=other, left=-2.0, left_spread=0.5, right_spread=NAN), -2.0),
    ):
        one = one._replace(left_spread=NAN) if expected == 3.0 else one
        found = classified([reading(spread=100.0, rounding=0.25, sides=one)])
        assert found == Slope(Kind.BORDER, 0.25, WAY, expected, expected, 1.75, 0.25)


def test_a_border_beside_a_side_that_grows():
    readings = growing(UP, FLAT, spread=100.0)
    readings = [one._replace(sides=one.sides._replace(right_spread=NAN)) for one in readings]  # type: ignore[union-attr]
    found = classified(readings)
    assert (found.kind, found.low, found.high) == (Kind.BORDER, 3.0, 3.0)


def test_an_infinite_derivative_from_both_sides_or_the_only_one():
    down, ways = [-x for x in UP], [np.array([float(i)]) for i in range(5)]
    for right, left, low, high in ((UP, UP, INF, INF), (UP, down, -INF, INF), (UP, [NAN] * 5, INF, INF)):
        readings = [
            one._replace(direction=way) for one, way in zip(growing(right, left, spread=100.0), ways, strict=True)
        ]
        readings = [one._replace(sides=one.sides._replace(left_spread=NAN)) for one in readings]  # type: ignore[union-attr]
        found = classified(readings)
        assert found._replace(direction=WAY) == Slope(Kind.INFINITE, 2.0**-4, WAY, low, high, 0.0, 0.0)
        assert found.direction is ways[-1]


@pytest.mark.parametrize(
    ("spread", "size", "rounding", "floor"),
    [(8.0, 16.0, 0.0, 0.0), (8.0, 0.0, 0.5, 0.0), (8.0, 0.0, 0.0, 0.125), (8.0, 0.0, 0.25, 0.0625)],
)
def test_a_doubt_that_noise_explains_leaves_a_derivative(spread, size, rounding, floor):
    """Half of the changes, or sixteen times the rounding of outputs and inputs."""
    one = reading(spread=spread, size=size, rounding=rounding)
    assert classified([one], BIT, floor) == slopes._smooth(one)
    assert classified([one._replace(spread=spread + BIT)], BIT, floor).kind is Kind.UNKNOWN


# The search.


class Scripted:
    """A probe that gives the readings it was told, by the exponent of their step and whether sides are asked for."""

    step, rounding, weight = 0.5, 2.0**-20, 3.0
    value: Any
    direction: Any

    def __init__(self, say: Callable[[int, bool], Reading]) -> None:
        self.say, self.asked = say, list[tuple[int, bool]]()

    def read(self, value: Any, direction: Any, step: float, *, sides: bool = False) -> Reading:
        exponent = round(math.log(step / self.step) / math.log(slopes.RATIO))
        assert step == pytest.approx(self.step * slopes.RATIO**exponent)
        assert (value is self.value, direction is self.direction) == (True, True)
        self.asked.append((exponent, sides))
        return self.say(exponent, sides)._replace(step=step, direction=direction)


def searched(probe: Any, analytic: float = 0.0, tolerance: float = 2.0**-4, **more: Any) -> Slope:
    value = more.get("value", np.array([5.0, -7.0]))
    direction = more.get("direction", np.array([1.0, 0.0]))
    probe.value, probe.direction = value, direction
    return slopes.find_slope(probe, value, direction, lambda moved: analytic, more.get("typical", 1.0), tolerance)


def test_one_step_is_enough_if_it_agrees():
    probe = Scripted(lambda exponent, sides: reading(central=8.0, spread=0.0))
    assert searched(probe, 8.0).low == 8.0
    assert probe.asked == [(0, False)]


def blurred(**changes: Any) -> Scripted:
    """The first step is off by rounding; of the longer ones the second is like the first."""
    usual = {0: reading(central=8.0, spread=10.0, rounding=1.0), 3: reading(central=50.0, spread=0.0)}
    usual |= {2: reading(central=19.0, spread=10.0, rounding=1.0), 1: reading(central=8.0)}
    return Scripted(lambda exponent, sides: (usual | changes.get("instead", {})).get(exponent, reading(spread=NAN)))


def test_longer_steps_help_against_rounding():
    probe = blurred()
    assert searched(probe, 800.0).low == 19.0  # the first step leaves 11 open
    assert probe.asked == [(0, False), (3, False), (2, False)]
    low = blurred(instead={2: reading(central=-3.0)})
    assert searched(low, 800.0).low == -3.0
    third = blurred(instead={3: reading(central=19.0)})
    assert searched(third, 800.0).low == 19.0
    assert third.asked == [(0, False), (3, False)]


@pytest.mark.parametrize(
    "second",
    [
        reading(central=8.0, spread=7.0, rounding=0.5),
        reading(central=19.0 + BIT),
        reading(central=8.0, spread=10.0 + BIT, rounding=1.0),
        reading(spread=NAN),
    ],
)
def test_a_longer_step_that_tells_something_else_does_not_count(second):
    probe = blurred(instead={2: second})
    assert searched(probe, 800.0).low == 8.0
    assert probe.asked == [(0, False), (3, False), (2, False), (1, False)]


def test_without_rounding_shorter_steps_come_first_and_then_longer_ones(monkeypatch):
    taken: list[Any] = []
    monkeypatch.setattr(slopes, "_with_doubts", lambda *arguments: taken.append(arguments) or arguments[0])
    monkeypatch.setattr(slopes, "_classify", lambda *arguments: arguments)
    probe = Scripted(lambda exponent, sides: reading(central=float(exponent), spread=5.0 + BIT, rounding=0.5))
    readings, tolerance, floor = searched(probe, 800.0)
    order = [0, *range(-1, -10, -1), 1, 2, 3]
    assert probe.asked == [(0, False), *((exponent, True) for exponent in order)]
    assert [one.central for one in readings] == sorted(order, reverse=True)  # the longest first
    assert taken == [(readings, [one.central - 800.0 for one in readings], floor)]
    assert (tolerance, floor) == (2.0**-4, 2.0**-20 * 5 * 3)  # the element of 7 does not move
    assert searched(probe, 800.0, value=np.array([0.5, 7.0]))[2] == 2.0**-20 * 3  # type: ignore[misc]
    assert searched(probe, 800.0, direction=np.array([-1.0, 2.0]))[2] == 2.0**-20 * 7 * 3  # type: ignore[misc]
    assert searched(probe, 800.0, value=np.array([-9.0, 7.0]))[2] == 2.0**-20 * 9 * 3  # type: ignore[misc]


def settled(exponents: dict[int, Reading], analytic: float, tolerance: float = 0.5) -> tuple[float, int]:
    """What a search finds, and after how many steps with sides."""
    probe = Scripted(
        lambda exponent, sides: exponents.get(exponent, reading(spread=NAN)) if sides else reading(spread=INF)
    )
    found = searched(probe, analytic, tolerance)
    return found.low, len(probe.asked) - 1


def test_a_good_step_that_the_gradient_confirms_ends_the_search():
    # Good is a doubt of a twentieth of the larger derivative (a tenth of the tolerance), confirmed a gap of half.
    assert settled({-1: reading(central=20.0, spread=0.75, rounding=0.25)}, 10.0) == (20.0, 2)
    assert settled({-1: reading(central=20.0, spread=1.0)}, 30.0, 0.5)[0] == 20.0
    assert settled({-1: reading(central=10.0, spread=1.0)}, -20.0)[1] == 13  # the gap is too large
    assert settled({-1: reading(central=20.0, spread=1.0)}, 10.0 - BIT)[1] == 13
    assert settled({-1: reading(central=20.0, spread=1.0 + BIT)}, 10.0)[1] == 13  # the doubt is
    assert settled({-1: reading(central=-20.0, spread=1.0)}, -10.0) == (-20.0, 2)
    assert settled({-1: reading(central=14.0, spread=1.0)}, 20.0) == (14.0, 2)  # the gradient is the larger one


def test_a_good_step_that_another_one_confirms_ends_the_search():
    good = reading(central=-20.0, spread=1.0)
    assert settled({-1: good, -3: good._replace(central=-30.0)}, 100.0) == (-30.0, 4)
    for central, steps in ((-40.0, 4), (-40.0 - BIT, 13), (-13.5, 4), (-13.25, 13)):  # within half of this one
        assert settled({-1: good, -3: good._replace(central=central)}, 100.0)[1] == steps
    assert settled({-1: good, -2: good._replace(central=-30.0)}, 100.0) == (-30.0, 3)
    assert settled({-1: good}, 100.0)[1] == 13, "not by itself"
    bad = reading(central=-30.0, spread=10.0)
    assert settled({-1: bad, -3: good}, 100.0)[1] == 13, "nor by one that is not good"


def test_several_derivatives_are_told_by_the_nearest():
    slope = Slope(Kind.KINK, 1.0, WAY, -1.0, 3.0, 0.0, 0.0)
    assert [slope.nearest(x) for x in (-5.0, -1.0, 0.5, 3.0, 9.0, NAN)] == [-1.0, -1.0, 0.5, 3.0, 3.0, -1.0]
    assert math.isnan(slope._replace(low=NAN, high=NAN).nearest(1.0)), "what is unknown agrees with nothing"
    assert (slopes._or_infinite(NAN), slopes._or_infinite(2.0)) == (INF, 2.0)
