"""Finite differences number by number: what the rules give for polynomials, where every error term is known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.nn import Linear
from minitrain.testing import GradientCheckError
from minitrain.testing.differences import ROUNDING, Probe, largest, norm, step_lengths
from minitrain.testing.gradients import functions_of
from minitrain.testing.watch import Watch, single_arrays

numbers = st.floats(-3, 3).map(lambda x: round(x, 3))


def probe_of(x: Any, functions: Any, cotangents: Any, **options: Any) -> Probe:
    def evaluate() -> list[Any]:
        return [function(x) for function in functions]

    return Probe(evaluate, evaluate(), cotangents, 1e-3, **options)


def polynomial(coefficients: list[float]) -> Any:
    """An elementwise polynomial around 1, where the tests begin."""
    return lambda x: sum(c * (x - 1) ** k for k, c in enumerate(coefficients))


@settings(max_examples=40)
@given(
    c=st.lists(numbers, min_size=6, max_size=6),
    weight=st.floats(0.5, 2).map(lambda x: round(x, 3)),
    step=st.sampled_from([0.125, 0.25]),
    along=st.sampled_from([1.0, -2.0]),
)
def test_the_terms_of_a_polynomial(c, weight, step, along):
    """With t the length of the move: what each rule makes of t, t², t³, t⁴ and t⁵."""
    x = np.array([1.0])
    found = probe_of(x, [polynomial(c)], [np.array([weight])]).read(x, np.array([along]), step, sides=True)
    t = step * along
    c1, c2, c3, c4, c5 = (weight * one for one in c[1:])
    close = {"rel": 1e-9, "abs": 1e-9}
    assert found.step == step
    assert found.direction.tolist() == [along]
    # (8 (f(t) - f(-t)) - (f(2t) - f(-2t))) / 12 keeps t, cancels t³, and leaves -4 t⁵
    assert found.central == pytest.approx((c1 * t - 4 * c5 * t**5) / step, **close)
    # |odd| = |(f(t) - f(-t)) / 2 - (f(2t) - f(-2t)) / 4| = |-3 c3 t³ - 15 c5 t⁵|, |even| likewise
    odd = c3 * t**3 - 4 * c3 * t**3 + c5 * t**5 - 16 * c5 * t**5
    even = 2 * c2 * t**2 + 8 * c4 * t**4 - 2 * c2 * t**2 - 2 * c4 * t**4
    assert found.spread == pytest.approx((abs(odd) + abs(even)) / step, **close)
    assert found.size == pytest.approx(abs(c1 * t + c3 * t**3 + c5 * t**5) / step, **close)
    assert found.rounding / ROUNDING == pytest.approx(abs(weight * c[0]) / step + found.size, rel=1e-9)
    assert found.doubt == found.spread + found.rounding
    gain = {
        k: c1 * k * t + c2 * (k * t) ** 2 + c3 * (k * t) ** 3 + c4 * (k * t) ** 4 + c5 * (k * t) ** 5
        for k in (1, 2, -1, -2)
    }
    sides = found.sides
    right, left = 2 * gain[1] - gain[2] / 2, gain[-2] / 2 - 2 * gain[-1]
    assert sides.right == pytest.approx(right / step, **close)
    assert sides.left == pytest.approx(left / step, **close)
    assert sides.right_spread == pytest.approx(abs(gain[1] - gain[2] / 2) / step, **close)
    assert sides.left_spread == pytest.approx(abs(gain[-1] - gain[-2] / 2) / step, **close)
    assert (sides.low, sides.high) == pytest.approx((min(right, left) / step, max(right, left) / step), **close)
    assert sides.right_quotient == pytest.approx(gain[1] / step, **close)
    assert sides.left_quotient == pytest.approx(-gain[-1] / step, **close)
    assert x.tolist() == [1.0]


def test_outputs_are_summed_one_by_one():
    """Of |x| and -|x| at 0 the sides cancel in the sum, and not in the smaller and the larger of each output."""
    x = np.array([0.0, 5.0])
    probe = probe_of(x, [abs, lambda x: -3 * abs(x)], [np.array([1.0, 0.0]), np.array([1.0, 0.0])])
    found = probe.read(x, np.array([1.0, 0.0]), 0.25, sides=True)
    assert found.central == 0
    assert found.size == 0
    assert found.spread == pytest.approx(1 + 3)  # a kink: the rules differ by all of it
    assert (found.sides.right, found.sides.left) == (-2, 2)
    assert (found.sides.low, found.sides.high) == (-1 - 3, 1 + 3)
    assert probe.read(x, np.array([1.0, 0.0]), 0.25).sides is None


def test_the_size_of_outputs_and_cotangents():
    x = np.array([3.0, 4.0])
    probe = probe_of(x, [lambda x: x, lambda x: 2 * x], [np.array([1.0, 1.0]), np.array([0.0, 2.0])], rounding=0.5)
    assert probe.scale == pytest.approx(math.sqrt(9 + 16 + 16**2))
    assert probe.weight == pytest.approx(math.sqrt(2 + 4))
    assert (probe.step, probe.rounding, probe.problem) == (1e-3, 0.5, "")
    found = probe.read(x, np.array([1.0, 0.0]), 0.5)
    assert found.rounding == pytest.approx(0.5 * (probe.scale / 0.5 + found.size))


@pytest.mark.parametrize("kind", ["raises", "infinity"])
def test_where_the_forward_fails_there_is_no_number_and_the_array_is_put_back(kind):
    def fragile(x: Any) -> Any:
        if kind == "raises" and (x < 0).any():
            raise ValueError("below zero")
        return np.sqrt(x) if kind == "raises" else 1 / np.where(x < 0, 0, 1) + x

    x = np.array([0.2, 1.0])
    probe = probe_of(x, [fragile], [np.ones(2)])
    found = probe.read(x, np.array([1.0, 0.0]), 0.25, sides=True)
    assert not math.isfinite(found.central)
    assert math.isfinite(found.sides.right)
    assert not math.isfinite(found.sides.left)
    assert found.rounding / ROUNDING == pytest.approx(probe.scale / 0.25)  # no change is known to add to it
    assert x.tolist() == [0.2, 1.0]
    assert probe.problem == ("ValueError: below zero" if kind == "raises" else "")


def test_steps_are_those_that_rounding_leaves():
    """At 2**20 a float32 moves in steps of an eighth; what does not move, infinite or not, stays."""
    x = np.array([2.0**20, np.inf, np.nan], np.float32)
    seen = []

    def forward() -> list[Any]:
        seen.append(x.copy())
        return [np.array([np.float64(x[0])])]

    probe = Probe(forward, forward(), [np.ones(1)], 1e-3)
    found = probe.read(x, np.array([1.0, 0.0, 0.0]), 0.3)
    assert found.direction.tolist() == [0.25 / 0.3, 0, 0]
    assert found.central == pytest.approx(0.25 / 0.3)
    assert all(one[1] == np.inf and np.isnan(one[2]) for one in seen)
    assert sorted(float(one[0]) - 2.0**20 for one in seen[1:]) == [-0.5, -0.25, 0.25, 0.5]
    assert x[0] == 2.0**20


def test_step_lengths_follow_the_size_of_an_element():
    found = step_lengths(np.array([0.0, 0.5, -0.5, 3.0, -4.0, np.inf, -np.inf, np.nan]))
    assert found.tolist() == [1, 1, 1, 3, 4, 0, 0, 0]


@given(st.lists(st.floats(-1e3, 1e3), max_size=6), st.sampled_from([1.0, 1e200, 1e-200]))
def test_norms_do_not_overflow(values, scale):
    x = scale * np.array(values, np.float64)
    assert norm(x) == pytest.approx(scale * math.hypot(*values), rel=1e-12)
    assert largest(x) == max(map(abs, x.tolist()), default=0)
    assert norm(np.array([1.0, np.inf])) == math.inf
    assert math.isnan(norm(np.array([1.0, np.nan])))


class Cache(NamedTuple):
    """Of a layer."""

    x: Any
    rest: Any


@dataclasses.dataclass
class Data:
    """Of a layer, as a dataclass."""

    y: Any


class NoTuple:
    """Has fields, as syntax trees and structures of C do, and is none of the containers that are looked into."""

    _fields = ("x",)
    x = np.zeros(1, np.float32)


def a_cache() -> tuple[Any, list[Any]]:
    arrays = [np.arange(6.0).reshape(2, 3) + i for i in range(5)]
    a, b, c, d, e = arrays
    return Cache(a, [b, (c, {"k": d}, 3, None), Data(e), Data]), arrays


@pytest.mark.parametrize(
    ("which", "path"),
    [
        (0, "cache.x"),
        (1, "cache.rest[0]"),
        (2, "cache.rest[1][0]"),
        (3, "cache.rest[1][1]['k']"),
        (4, "cache.rest[2].y"),
    ],
)
def test_what_was_written_to_is_named(which, path):
    cache, arrays = a_cache()
    watch = Watch({"cache": cache})
    watch.check("the backward", "its cache")
    arrays[which][1, 0] = 7.5
    arrays[which][1, 2] = np.nan
    with pytest.raises(GradientCheckError) as caught:
        watch.check("the backward", "its cache")
    assert str(caught.value).startswith(
        f"the backward must not write to its cache: it changed 2 of 6 elements of {path}, the first of them [1, 0] "
        f"from {3 + which} to 7.5; "
    )


def test_nan_that_stays_nan_is_no_change():
    x = np.array([np.nan, 1.0])
    watch = Watch({"x": x})
    watch.check("f", "x")
    x[0] = 2
    with pytest.raises(GradientCheckError, match=r"elements of x, the first of them \[0\] from nan to 2"):
        watch.check("f", "x")


def test_arrays_of_single_precision_are_found():
    a, b, c = np.zeros(1, np.float32), np.zeros(1), np.zeros(1, np.float32)
    assert single_arrays("cache", Cache(a, {"n": [b, c]})) == ["cache.x", "cache.rest['n'][1]"]
    assert single_arrays("cache", (1.5, "text", np.float32, NoTuple())) == []


def test_a_pair_and_an_object_have_two_functions():
    layer = Linear(2, 3, np.random.default_rng(0))
    assert functions_of(layer) == (layer.forward, layer.backward)
    assert functions_of((len, max)) == (len, max)
    for wrong in ((len,), (len, max, min), (len, 3), [len, max], len, None):
        with pytest.raises(GradientCheckError, match=f"not a {type(wrong).__name__}"):
            functions_of(wrong)
