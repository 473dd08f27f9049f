"""One array of a gradient check, rule by rule: what is measured, how it is judged, and what is said of it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from minitrain.testing import CheckSettings, GradientCheckError, variables
from minitrain.testing.differences import Reading
from minitrain.testing.slopes import Kind, Slope
from minitrain.testing.variables import Judgement, Variable, VariableCheck

NAN, INF, BIT = math.nan, math.inf, 2.0**-20
TOLERANCE = 2.0**-4


class Quiet:
    """A probe that measures nothing."""

    problem = ""


def check_of(value: Any, gradient: Any, probe: Any = None, kind: Any = VariableCheck, **changes: Any) -> Any:
    one = Variable("x", np.array(value, np.float64), np.array(gradient, np.float64))
    return kind(one, Quiet() if probe is None else probe, CheckSettings(tolerance=TOLERANCE, **changes))


def slope(
    low: float, high: float | None = None, kind: Kind = Kind.SMOOTH, doubt: float = 0.0, rounding: float = 0.0
) -> Slope:
    return Slope(kind, 0.25, np.array([1.0]), low, low if high is None else high, doubt, rounding)


@pytest.fixture
def slopes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is to be found, one after another, and with which arguments it was asked for."""
    answers: list[Slope] = []
    asked: list[Any] = []

    def find(probe: Any, value: Any, direction: Any, analytic: Any, typical: float, tolerance: float) -> Slope:
        asked.append((probe, value, direction.copy(), analytic, typical, tolerance))
        found = answers.pop(0)
        return found._replace(direction=np.asarray(found.direction) * direction)

    monkeypatch.setattr(variables, "find_slope", find)
    return answers, asked


def test_what_is_not_finite_does_not_move():
    check = check_of([2.0, -0.5, INF, 3.0, 4.0], [1.0, -4.0, 5.0, NAN, 0.5])
    assert check._gradient.tolist() == [1, -4, 5, 0, 0.5]
    assert check._lengths.tolist() == [2, 1, 0, 0, 4]
    assert check._typical == pytest.approx(math.sqrt((4 + 16 + 4) / 3))
    assert check._immovable() == [2, 3]
    assert check_of([INF], [3.0])._typical == 0
    assert check_of([2.0], [3.0])._typical == 6
    assert (check.special, check.measured) == ({}, {})


def test_a_sample_of_many_elements_that_do_not_move():
    for size, step in ((8, 1), (9, 2), (16, 2), (17, 3)):
        assert check_of([1.0, *[INF] * size], [1.0] * (size + 1))._immovable() == list(range(1, size + 1, step))
    assert check_of([1.0], [1.0])._immovable() == []


# The judgement.


def test_a_gap_is_relative_to_the_larger_number_and_to_what_the_measurement_leaves_open():
    check = check_of([1.0], [1.0])
    for analytic, numeric, doubt, rounding, scale in itertools.product(
        (-3.0, 0.0, 4.0, 5.0), (-4.0, 0.0, 4.0), (0.0, 0.75, 8.0), (0.0, 0.5), (0.0, 16.0)
    ):
        found = check._judge(analytic, slope(numeric, doubt=doubt, rounding=rounding), scale)
        gap, size = abs(analytic - numeric), max(abs(analytic), abs(numeric), scale)
        allowed = doubt if gap - doubt <= size / 16 else rounding
        expected = 0.0 if gap == 0 else gap / (size + 16 * allowed)
        assert found[:3] == (analytic, numeric, expected)
        assert found.slope.low == numeric
        assert found.kind is Kind.SMOOTH


def test_a_derivative_that_is_just_within_doubt_is_within_the_tolerance():
    check = check_of([1.0], [1.0])
    assert check._judge(4.0, slope(3.0, doubt=0.75), 0.0).error == 1 / 16
    assert check._judge(4.0 + BIT, slope(3.0, doubt=0.75), 0.0).error > 0.2


def test_numbers_that_are_none_and_infinite_ones():
    check, tiny = check_of([1.0], [1.0]), float(np.finfo(np.float64).tiny)
    assert check._judge(NAN, slope(1.0), 0.0)[1:3] == (1.0, INF)
    assert check._judge(1.0, slope(NAN), 0.0).error == INF
    infinite = slope(INF, INF, Kind.INFINITE)
    assert check._judge(3.0, infinite, 0.0)[1:3] == (INF, 0.0)
    assert check._judge(INF, infinite, 0.0).error == 0
    assert check._judge(-INF, infinite, 0.0).error == INF
    assert check._judge(INF, slope(1.0), 0.0)[:3] == (INF, 1.0, INF)
    assert check._judge(3.0, slope(INF, INF), 0.0).error != 0
    assert check._judge(tiny / 4, slope(0.0), 0.0).error == 0.25  # nothing is divided by less
    kink = slope(-1.0, 3.0, Kind.KINK)
    assert [check._judge(x, kink, 0.0)[:3] for x in (-1.0, 2.0)] == [(-1, -1, 0), (2, 2, 0)]
    assert check._judge(6.0, kink, 0.0)[:3] == (6, 3, 0.5)
    assert check._judge(6.0, kink, 0.0).kind is Kind.KINK


# Elements.


def test_an_element_moves_alone(slopes):
    answers, asked = slopes
    probe = Quiet()
    value = [[2.0, -0.5, 3.0], [8.0, -4.0, 1.0]]
    check = check_of(value, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], probe)
    answers.append(slope(-4.0 * 5.5, doubt=1.0, rounding=-0.5)._replace(direction=np.array([-1.0])))
    found = check.element(4)
    assert (found.analytic, found.numeric) == (5.0, 5.5)
    assert found.slope[1:2] + found.slope[3:] == (0.25, 5.5, 5.5, -0.25, 0.125)
    assert check.measured == {4: found.error}
    assert check.special == {}
    got, moved, direction, analytic, typical, tolerance = asked[0]
    assert got is probe
    assert moved.tolist() == [-4.0]
    assert np.shares_memory(moved, check.variable.value)
    assert direction.tolist() == [4.0]
    assert analytic(np.array([2.0])) == 10
    assert typical == max(20.0, check._typical)
    assert tolerance == TOLERANCE


def test_a_small_gradient_is_judged_by_its_own_size(slopes):
    answers, _ = slopes
    answers.append(slope(2.0**-5))
    assert check_of([1.0], [2.0**-4]).element(0).error == 0.5


def test_the_typical_size_of_a_derivative(slopes):
    answers, asked = slopes
    check = check_of([1.0, 2.0], [100.0, 1.0])
    answers += [slope(1.0)] * 2
    check._slope(check.variable.value[1:], check.variable.gradient[1:], np.array([2.0]))
    check._slope(check.variable.value, check.variable.gradient, np.array([3.0, -2.0]))
    assert [one[4] for one in asked] == pytest.approx([check._typical, math.hypot(300, 2)])
    assert asked[1][3](np.array([1.0, -2.0])) == 98


def test_an_infinite_element_has_no_gradient(slopes):
    check = check_of([INF, -INF, NAN], [0.0, 2.0, 0.0])
    for index, error in ((0, 0.0), (1, INF), (2, 0.0)):
        found = check.element(index)
        assert (found.numeric, found.error, found.slope) == (0, error, None)
        assert found.kind is Kind.SMOOTH
    assert check.measured == {0: 0.0, 1: INF, 2: 0.0}


@pytest.mark.parametrize("kind", [Kind.KINK, Kind.BORDER, Kind.INFINITE])
def test_an_element_without_a_derivative_is_kept(slopes, kind):
    answers, _ = slopes
    check = check_of([[1.0, 0.0]], [[1.0, 2.0]])
    answers.append(slope(2.0, 3.0, kind))
    found = check.element(1)
    assert check.special == {(0, 1): found}


@pytest.mark.parametrize(
    ("value", "again"), [(1e-5, True), (-1e-5, True), (1e-4, False), (0.0, False), (0.5, False), (-2.0, False)]
)
def test_a_small_element_may_have_a_scale_of_its_own(slopes, value, again):
    answers, asked = slopes
    check = check_of([value], [2.0])
    answers += [slope(2.0, 2.0, Kind.KINK), slope(2.0 * abs(value))][: 1 + again]
    check.element(0)
    assert [one[2].tolist() for one in asked] == [[max(1.0, abs(value))], [abs(value)]][: 1 + again]
    assert all(np.shares_memory(one[1], check.variable.value) for one in asked)
    assert [one[3](np.array([3.0])) for one in asked] == [6.0] * len(asked)
    assert (check.special == {}) is again
    if again:  # if it is smooth on neither scale, the first one counts
        answers += [slope(2.0, 2.0, Kind.KINK), slope(2.0, 2.0, Kind.BORDER)]
        assert check.element(0).kind is Kind.KINK


@pytest.mark.parametrize("problem", ["", "ValueError: no"])
def test_an_element_that_cannot_be_measured_is_told(slopes, problem):
    answers, _ = slopes
    probe = Quiet()
    probe.problem = problem
    check = check_of([[1.0, 0.5]], [[1.0, 2.0]], probe, step=1e-3)
    answers.append(slope(NAN, kind=Kind.UNKNOWN))
    why = f" ({problem})" if problem else ""
    with pytest.raises(GradientCheckError) as caught:
        check.element(1)
    assert str(caught.value) == (
        f"no finite difference gives a derivative by x[0, 1] = 0.5, with steps from 1e-03 times its size down to "
        f"rounding{why}: the forward is too noisy there, or not defined around it; choose another input"
    )


def test_a_direction_has_the_scale_of_its_terms(slopes):
    answers, asked = slopes
    check = check_of([1.0, 2.0], [3.0, -4.0])
    answers.append(slope(0.0)._replace(direction=np.array([1.0, 0.5])))
    found = check.along(np.array([1.0, 2.0]))
    assert (found.analytic, found.numeric) == (-1.0, 0.0)
    assert found.error == 1 / 5  # the terms are 3 and -4
    assert asked[0][1] is check.variable.value


# Everything together.


class Scripted(VariableCheck):
    """Finds what it was told, and notes what it was asked."""

    errors: dict[int, float]
    kinks: tuple[int, ...] = ()
    together = Judgement(0.0, 0.0, 0.0, None)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.errors, self.asked, self.ways, self.at_once = {}, list[int](), list[Any](), list[Any]()

    def element(self, flat: int) -> Judgement:
        self.asked.append(flat)
        found = Judgement(0.0, 0.0, self.errors.get(flat, 0.0), None)
        if flat in self.kinks:
            self.special[np.unravel_index(flat, self.variable.value.shape)] = found  # type: ignore[index]
        return found

    def _along(self, direction: Any) -> float:
        self.ways.append(direction)
        return self.errors.get(-len(self.ways), 0.0)

    def along(self, direction: Any) -> Judgement:
        self.at_once.append(direction)
        return self.together


def test_elements_and_directions_are_measured():
    value, gradient = np.array([[2.0, -0.5], [3.0, INF]]), np.array([[1.0, 2.0], [1e-9, 4.0]])
    for most in (4, 3):
        check = check_of(value, gradient, kind=Scripted, elementwise=most, directions=2)
        assert check.worst_error(np.random.default_rng(0)) == 0
        assert check.asked == ([0, 1, 2, 3] if most == 4 else [3])
        rng, lengths = np.random.default_rng(0), np.array([[2.0, 1.0], [3.0, 0.0]])
        first, second = (rng.standard_normal((2, 2)) * lengths for _ in range(2))
        small = np.array([[0, 0], [1, 0]])
        for found, expected in zip(check.ways, (first, first * small, second, second * small), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert check.at_once == []


@pytest.mark.parametrize(("where", "worst"), [(2, 3.0), (-2, 5.0)])
def test_the_worst_error_counts(where, worst):
    check = check_of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], kind=Scripted, directions=3)
    check.errors = {where: worst, 0: 0.5, -1: 1.0}
    assert check.worst_error(np.random.default_rng(0)) == worst
    assert len(check.ways) == 3  # nothing is small here


def test_nothing_has_no_error():
    check = check_of(np.zeros((0, 2)), np.zeros((0, 2)), kind=Scripted)
    assert check.worst_error(np.random.default_rng(0)) == 0
    assert (check.asked, check.ways) == ([], [])
    frozen = check_of([INF], [0.0], kind=Scripted)
    assert frozen.worst_error(np.random.default_rng(0)) == 0
    assert frozen.ways == []


@pytest.mark.parametrize(
    ("kind", "worst"),
    [(Kind.SMOOTH, 7.0), (Kind.KINK, 7.0), (Kind.BORDER, 0.0), (Kind.INFINITE, 0.0), (Kind.UNKNOWN, 0.0)],
)
def test_elements_without_a_derivative_move_together_and_not_with_others(kind, worst):
    check = check_of([2.0, -0.5, 3.0], [1.0, 2.0, 3.0], kind=Scripted, directions=1)
    check.kinks, check.together = (0, 2), Judgement(0.0, 0.0, 7.0, slope(1.0, kind=kind))
    assert check.worst_error(np.random.default_rng(0)) == worst
    np.testing.assert_array_equal(check.at_once, [[2.0, 0.0, 3.0]])
    np.testing.assert_array_equal(check.ways, [np.random.default_rng(0).standard_normal(3) * [0, 1, 0]])


def test_what_is_small_would_drown_in_a_sum():
    check = check_of([1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 1e-4, 1.0])
    limit = variables.SMALL * check._typical
    for gradient, weight, small in [(limit, 1.0, False), (limit * 0.999, 1.0, True), (-limit, 0.999, True)]:
        check._gradient = np.array([gradient, 0.0, limit / 2, -1.0])
        assert check._small(np.array([weight, 1.0, 0.0, 1.0])).tolist() == [small, False, False, False]


# More digits.


class Stepping(Quiet):
    """Measures these derivatives at the steps that show most digits."""

    def __init__(self, centrals: list[float], roundings: tuple[float, ...] = (0.0,) * 4) -> None:
        self.found = dict(zip(variables.RESOLVING, zip(centrals, roundings, strict=True), strict=True))
        self.ways: list[Any] = []

    def read(self, value: Any, direction: Any, step: float) -> Reading:
        self.ways.append((value, direction))
        central, rounding = self.found[step]
        return Reading(step, np.array([2.0, 1.0]), central, 0.0, 1.0, rounding, None)


def resolved(centrals: list[float], *more: Any, gradient: Any = (3.0, 4.0)) -> float:
    probe = Stepping(centrals, *more)
    check = check_of([2.0, 0.5], gradient, probe)
    error = check.resolved_error(np.random.default_rng(7))
    expected = np.random.default_rng(7).standard_normal(2) * [2.0, 1.0]
    assert all(value is check.variable.value for value, _ in probe.ways)
    assert all(np.array_equal(direction, expected) for _, direction in probe.ways)
    return error


def test_an_error_that_the_differences_resolve():
    """The gradient gives 3 * 2 + 4 * 1 = 10, and terms of the size of the root of 36 + 16."""
    size = math.sqrt(52)
    assert resolved([10.0] * 4) == 0
    assert resolved([10.5] * 4) == pytest.approx(0.5 / size)
    assert resolved([9.5] * 4) == pytest.approx(0.5 / size)
    assert resolved([10 + 1e-8 * size] * 4) == pytest.approx(1e-8, rel=1e-5)
    assert resolved([10 + 1.9e-9 * size] * 4) == 0  # as float64 itself may leave
    # Thirty times the distance of the best pair, the second one here, with the rounding of its first.
    assert resolved([0.0, 10.5, 10.5 + 1 / 64, 20.0]) == pytest.approx(0.5 / size)
    assert resolved([0.0, 10.5, 10.5 + 1 / 59, 20.0]) == 0
    assert resolved([0.0, 10.5, 10.5 - 1 / 59, 20.0]) == 0
    assert resolved([0.0, 10.5, 10.5, 20.0], (0.0, 1 / 64, 1.0, 0.0)) == pytest.approx(0.5 / size)
    assert resolved([0.0, 10.5, 10.5, 20.0], (0.0, 1 / 59, 1.0, 0.0)) == 0
    assert resolved([0.0, 40.0, 10.5, 10.5]) == pytest.approx(0.5 / size)
    assert resolved([10.5, 10.5, 40.0, 0.0]) == pytest.approx(0.5 / size)
    assert resolved([1.0] * 4, gradient=(0.0, 0.0)) == 0


def test_digits_are_not_looked_for_where_there_are_none():
    probe = Stepping([10.5] * 4)
    check = check_of([2.0, 0.5], [3.0, 4.0], probe)
    check.special[(0,)] = Judgement(0.0, 0.0, 0.0, None)
    assert check.resolved_error(np.random.default_rng(0)) == 0
    assert check_of([], [], probe).resolved_error(np.random.default_rng(0)) == 0
    assert probe.ways == []


# Directions that are not smooth.


def parts_of(value: Any, direction: Any) -> list[list[float]]:
    check = check_of(value, np.ones(np.shape(value)))
    return [part.tolist() for part in check._parts(np.array(direction, np.float64))]


def test_a_direction_is_split_by_size_by_ties_and_in_halves():
    # By powers of ten, smallest first; the small ones move by as much less, and zeros by all.
    assert parts_of([5.0, 0.05, 50.0, 7.0, -0.02], [1.0, 2.0, 4.0, 0.0, 8.0]) == [
        [0, 2 * 0.01, 0, 0, 8 * 0.01],
        [1, 0, 0, 0, 0],
        [0, 0, 4, 0, 0],
    ]
    assert parts_of([0.0, 5.0], [2.0, 4.0]) == [[2, 0], [0, 4]]
    assert parts_of([5.0, 0.0, 6.0, 0.0], [1.0, 2.0, 4.0, 8.0]) == [[0, 2, 0, 8], [1, 0, 4, 0]]
    assert parts_of([1e-310, 5.0], [1.0, 2.0]) == [[10.0**-310, 0], [0, 2]]
    # Those that are there once, and those that are there more often.
    assert parts_of([1.0, 2.0, 1.0, 3.0, 3.0], [1.0, 2.0, 4.0, 8.0, 0.0]) == [[0, 2, 0, 8, 0], [1, 0, 4, 0, 0]]
    assert parts_of([2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 4.0, 0.0, 8.0]) == [[1, 2, 0, 0, 0], [0, 0, 4, 0, 8]]
    assert parts_of([2.0, 3.0, 4.0], [1.0, 2.0, 4.0]) == [[1, 0, 0], [0, 2, 4]]
    assert parts_of([2.0, 2.0, 3.0, 3.0], [1.0] * 4) == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert parts_of([2.0, 2.0], [1.0, 2.0]) == [], "equal ones cannot be told apart"
    assert parts_of([2.0, 3.0], [0.0, 2.0]) == [], "one cannot be split"
    assert parts_of([[5.0, 0.05]], [[1.0, 2.0]]) == [[[0, 0.02]], [[1, 0]]]


class Splitting(VariableCheck):
    """Judges a direction by how many elements it moves."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ways, self.asked = list[Any](), list[int]()
        self.of: dict[int, Judgement] = {}

    def along(self, direction: Any) -> Judgement:
        self.ways.append(direction.tolist())
        return self.of[np.count_nonzero(direction)]

    def element(self, flat: int) -> Judgement:
        self.asked.append(flat)
        return Judgement(0.0, 0.0, flat / 1024, None)


def judged(error: float, kind: Kind = Kind.SMOOTH, gap: float = 0.0, numeric: float = 1.0) -> Judgement:
    return Judgement(numeric + gap, numeric, error, slope(numeric, kind=kind, rounding=2.0**-14))


def test_a_smooth_direction_is_not_split():
    check = check_of([2.0, 3.0], [1.0, 1.0], kind=Splitting)
    noise = variables.NOISE * 2.0**-14
    near = TOLERANCE * 4 + noise
    check.of[2] = judged(TOLERANCE / 2, gap=-near, numeric=-4.0)
    assert check._along(np.array([1.0, 1.0])) == TOLERANCE / 2
    check.of[2] = judged(TOLERANCE + BIT, gap=1e9)
    assert check._along(np.array([1.0, 1.0])) == TOLERANCE + BIT
    assert len(check.ways) == 2
    check.of |= {1: judged(0.25), 2: judged(TOLERANCE, gap=near + 0.001, numeric=4.0)}
    assert check._along(np.array([1.0, 1.0])) == 0.25
    assert check.ways[2:] == [[1, 1], [1, 0], [0, 1]]


def test_a_direction_that_is_not_smooth_is_split_as_long_as_there_are_parts():
    check = check_of([2.0, 3.0, 4.0, 5.0], [1.0] * 4, kind=Splitting)
    check.of = {4: judged(0.0, Kind.KINK), 2: judged(0.0, Kind.BORDER), 1: judged(0.125)}
    assert check._along(np.ones(4)) == 0.125
    assert [sum(way) for way in check.ways] == [4, 2, 1, 1, 2, 1, 1]
    assert check._splits == variables.SPLITS - 6
    check._splits = 1
    check.ways.clear()
    check.of[2] = judged(0.5, Kind.KINK)
    assert check._along(np.ones(4)) == 0.5
    assert [sum(map(bool, way)) for way in check.ways] == [4, 2, 2, 2, 2]  # each half, and those elements together
    check._splits = 0
    check.ways.clear()
    check._along(np.ones(4))
    assert [sum(map(bool, way)) for way in check.ways] == [4, 4]


@pytest.mark.parametrize(
    ("own", "together", "worst"),
    [
        (judged(3.0, Kind.KINK), judged(2.0), 3.0),
        (judged(3.0, Kind.BORDER), judged(2.0, Kind.KINK), 2.0),
        (judged(3.0, Kind.INFINITE), judged(2.0, Kind.BORDER), 17 / 1024),
    ],
)
def test_equal_elements_are_looked_at_by_themselves_and_together(own, together, worst):
    value = np.full((2, 10), -2.0)
    check = check_of(value, np.ones((2, 10)), kind=Splitting)
    answers = [own, together]
    check.along = lambda direction: check.ways.append(direction.copy()) or answers.pop(0)
    direction = np.ones((2, 10))
    direction[0, :2] = direction[1, 9] = 0
    direction[0, 2] = -0.5
    assert check._along(direction) == worst
    assert check.asked == list(range(2, 19, 3))  # every third of 17
    np.testing.assert_array_equal(check.ways[1], 2.0 * (direction != 0))


# Words.


def test_points_without_a_derivative_are_described():
    check = check_of(np.ones((2, 2)), np.ones((2, 2)))
    kink = Judgement(2.0, 2.0, 0.0, slope(-1.0, 3.0, Kind.KINK))
    border = Judgement(2.5, 2.5, 0.0, slope(2.5, 4.5, Kind.BORDER))
    infinite = Judgement(7.0, INF, 0.0, slope(INF, kind=Kind.INFINITE))
    check.special = {(1, 0): kink, (0, 1): border, (1, 1): infinite}
    said = {
        (0, 1): "a border of the domain or a jump; the derivative from one side is 2.5",
        (1, 0): "a kink, where any derivative from -1 to 3 is right; the gradient is 2",
        (1, 1): "the derivative is infinite, or the function jumps; the gradient is 7",
    }
    assert check.notes() == tuple(f"{list(index)}: {words}" for index, words in said.items())
    assert check.hint((1, 0), 1) == f"[1, 0] is {said[1, 0]}"
    assert check.hint((0, 0), 1) == ""
    assert check.hint((0, 0), 0).startswith(
        "each element is possible by itself, but not all together: [0, 1], [1, 0], [1, 1] lie on a kink (a tie?)"
    )
    many = check_of(np.ones(20), np.ones(20))
    assert many.hint((0,), 0) == ""
    many.special = {(i,): kink for i in range(10)}
    assert "[7] lie on a kink" in many.hint((0,), 0)
