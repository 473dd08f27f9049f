"""What is better: of any sign, in both directions, by an amount or by a part; NaN never is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.nn import Module, Parameter
from minitrain.optim import SGD, ReduceOnPlateau
from minitrain.records.collector import MetricsCollector
from minitrain.settings.better import best_of, check_mode, has_reached, is_better, sort_key

numbers = st.floats(-1e6, 1e6)
modes = st.sampled_from(["min", "max"])
bad = pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])


class Point(Module):
    def __init__(self):
        self.place = Parameter(np.zeros(1))


@given(numbers, numbers, modes)
def test_without_a_margin_it_is_the_order_of_numbers(value, best, mode):
    assert is_better(value, best, mode) is (value < best if mode == "min" else value > best)
    assert has_reached(value, best, mode) is (value <= best if mode == "min" else value >= best)
    assert (sort_key(value, mode) < sort_key(best, mode)) is is_better(value, best, mode)


@given(numbers, numbers, st.floats(0, 10), st.booleans())
def test_the_other_direction_is_the_other_sign(value, best, by, relative):
    options = {"by": by, "relative": relative}
    assert is_better(value, best, "min", **options) is is_better(-value, -best, "max", **options)


@given(numbers, modes, st.floats(0, 10), st.booleans())
def test_nothing_is_better_than_itself(value, mode, by, relative):
    assert not is_better(value, value, mode, by=by, relative=relative)


@pytest.mark.parametrize(
    ("value", "best", "mode", "relative", "expected"),
    [
        (89, 100, "min", True, True), (91, 100, "min", True, False), (-109, -100, "min", True, False),
        (-111, -100, "min", True, True), (111, 100, "max", True, True), (109, 100, "max", True, False),
        (-89, -100, "max", True, True), (-91, -100, "max", True, False), (-1, 0, "min", True, True),
        (0.8, 1, "min", False, True), (0.95, 1, "min", False, False), (-1.05, -1, "min", False, False),
        (-1.2, -1, "min", False, True), (-0.8, -1, "max", False, True), (-0.95, -1, "max", False, False),
    ],
)  # fmt: skip
def test_a_margin_of_a_tenth(value, best, mode, relative, expected):
    assert is_better(value, best, mode, by=0.1, relative=relative) is expected


@bad
@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_is_not_finite_is_never_better_and_never_reaches_a_target(value, mode):
    assert not is_better(value, None, mode)
    assert not is_better(value, 1.0, mode)
    assert not has_reached(value, 1.0, mode)
    for relative in (False, True):
        assert is_better(1.0, value, mode, by=0.1, relative=relative)  # and anything else is better


def test_the_best_of_some():
    assert best_of([3, math.nan, -1, -math.inf, 2]) == -1
    assert best_of([3, math.nan, -1, math.inf, 2], "max") == 3
    assert math.isnan(best_of([math.nan])) and math.isnan(best_of([], "max"))


def test_a_wrong_mode_is_named():
    with pytest.raises(ConfigError, match="x: mode = 'most' must be 'min' or 'max'"):
        check_mode("x", "most")
    with pytest.raises(ConfigError, match="MetricsCollector: accuracy: mode = 'up'"):
        MetricsCollector({"accuracy": "up"})


@pytest.mark.parametrize(
    ("mode", "threshold_mode", "sign"), [*itertools.product(["min", "max"], ["rel", "abs"], [-1, 1])]
)
def test_a_plateau_of_any_sign_lowers_the_rate(mode, threshold_mode, sign):
    for values in ([sign * 1.0] * 4, [sign * 1.0 + worse * (1 if mode == "min" else -1) for worse in (0, 1, 2, 3)]):
        scheduler = ReduceOnPlateau(SGD(Point(), 1.0), mode=mode, threshold_mode=threshold_mode, patience=2, factor=0.5)
        assert [scheduler.step(value) for value in values] == [1, 1, 1, 0.5]
    better = [sign * 1.0 - gain * (1 if mode == "min" else -1) for gain in (0, 1, 2, 3)]
    scheduler = ReduceOnPlateau(SGD(Point(), 1.0), mode=mode, threshold_mode=threshold_mode, patience=0)
    assert [scheduler.step(value) for value in better] == [1, 1, 1, 1]
