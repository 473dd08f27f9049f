"""What becomes of the comparisons of all arrays: who passes, what is said of the others, and what was tried for it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minitrain.testing import CheckSettings, GradientCheckError, GradientMismatch, comparison
from minitrain.testing.diagnosis import Evidence
from minitrain.testing.gradients import functions_of
from minitrain.testing.report import ArgumentReport, Mismatch
from minitrain.testing.slopes import Kind, Slope
from minitrain.testing.variables import Judgement, Variable

TOLERANCE = 2.0**-4
SETTINGS = CheckSettings(seed=5, tolerance=TOLERANCE, explained=6)
BIT = 2.0**-20


def judgement(analytic: float, numeric: float, error: float, *, moved: bool = True) -> Judgement:
    slope = Slope(Kind.SMOOTH, 1e-3, np.array([1.0]), numeric, numeric, 0.0, 0.0)
    return Judgement(analytic, numeric, error, slope if moved else None)


class Check:
    """Stands for the check of a variable: element i has the gradient i, the derivative 10 i and the error i / 64."""

    def __init__(self, variable: Variable, probe: Any, settings: CheckSettings) -> None:
        self.variable, self.given = variable, (probe, settings)
        self.measured: dict[int, float] = {}
        self.asked: list[Any] = []
        self.said = ""

    def worst_error(self, rng: np.random.Generator) -> float:
        self.asked.append(("worst", rng.bit_generator.state["state"]["state"]))
        return float(self.variable.gradient.max(initial=0.0))

    def resolved_error(self, rng: np.random.Generator) -> float:
        return float(-self.variable.gradient.min())

    def element(self, flat: int) -> Judgement:
        self.asked.append(flat)
        self.measured[flat] = flat / 64
        return judgement(flat, 10.0 * flat, flat / 64)

    def notes(self) -> tuple[str, ...]:
        return ("a note",)

    def hint(self, index: Any, wrong: int) -> str:
        self.asked.append(("hint", index, wrong))
        return self.said


def variable(name: str, value: Any, gradient: Any) -> Variable:
    return Variable(name, np.array(value, np.float64), np.array(gradient, np.float64))


def check_of(size: int, *, name: str = "x", shape: Any = None) -> Check:
    value = np.ones(size) if shape is None else np.ones(shape)
    return Check(Variable(name, value, np.arange(float(size)).reshape(value.shape)), None, SETTINGS)


# Who passes.


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The parts of a comparison, noted; a variable called "single" has numbers of single precision."""
    calls: list[Any] = []
    monkeypatch.setattr(comparison, "VariableCheck", Check)
    monkeypatch.setattr(comparison, "_is_single", lambda *found: calls.append(found) or found[0].name == "single")
    monkeypatch.setattr(comparison, "_tried", lambda *found: calls.append(found) or ("tried", found[0].name))

    def gather(*found: Any) -> Any:
        calls.append(found)
        return SimpleNamespace(numeric=f"of {found[0].variable.name}", whole=found[0].variable.name != "large")

    monkeypatch.setattr(comparison, "_gather", gather)
    monkeypatch.setattr(
        comparison, "_mismatch", lambda *found: calls.append(found) or bad(found[0].variable.name, "wrong")
    )
    return calls


def bad(name: str, summary: str) -> Mismatch:
    return Mismatch(name, (), None, None, None, math.inf, summary, "")


GOOD = variable("good", [1.0, 2.0], [TOLERANCE, 0.0])
PROBE: Any = SimpleNamespace(scale=1.0)
KNOWN: dict[str, Any] = {}


def compared(variables: list[Variable], *more: Any, **options: Any) -> Any:
    return comparison.compare(variables, more[0] if more else [], PROBE, KNOWN, SETTINGS, compared, **options)


def test_what_is_within_the_tolerance_passes(stubs):
    report = compared([GOOD, variable("other", [[3.0]], [[0.0]])])
    assert report.arguments == (
        ArgumentReport("good", (2,), TOLERANCE, ("a note",), {}),
        ArgumentReport("other", (1, 1), 0.0, ("a note",), {}),
    )
    assert stubs[0] == (GOOD, PROBE, SETTINGS)
    assert compared([]).arguments == ()
    assert len(compared([GOOD], single=["a"]).arguments) == 1, "single precision that nobody sees"


def test_an_error_above_the_tolerance_is_gathered_and_told(stubs):
    wrong = [variable(name, [1.0], [TOLERANCE + BIT]) for name in ("small", "large")]
    with pytest.raises(GradientMismatch) as caught:
        compared([wrong[0], GOOD, wrong[1]], [bad("before", "it rains")])
    assert [one.name for one in caught.value.mismatches] == ["before", "small", "large"]
    assert [one.name for one in caught.value.passed] == ["good"]
    tried, gathered = stubs[0], stubs[1]
    assert tried == (wrong[0], PROBE, KNOWN, compared)
    check, error, rng, known, settings, found = gathered
    assert (check.variable, check.given) == (wrong[0], (PROBE, SETTINGS))
    assert (error, known is KNOWN, settings, found) == (TOLERANCE + BIT, True, SETTINGS, ("tried", "small"))
    assert check.asked == [("worst", np.random.default_rng(5).bit_generator.state["state"]["state"])]
    assert rng.bit_generator.state == np.random.default_rng(5).bit_generator.state
    for told, one in zip(stubs[-2:], wrong, strict=True):
        assert told[0].variable is one
        assert (told[1].numeric, told[2:]) == (f"of {one.name}", ({"small": "of small"}, SETTINGS))


def test_what_was_found_before_is_told_though_all_else_is_right(stubs):
    with pytest.raises(GradientMismatch) as caught:
        compared([GOOD], [bad("before", "it rains")])
    assert [one.name for one in caught.value.mismatches] == ["before"]


def test_numbers_of_single_precision_are_told(stubs):
    for error in (TOLERANCE, TOLERANCE / 2):
        with pytest.raises(GradientMismatch) as caught:
            compared([variable("single", [1.0], [error]), GOOD])
        (one,) = caught.value.mismatches
        assert one == Mismatch(
            "single",
            (1,),
            None,
            None,
            None,
            error,
            f"single (1,): every element of the gradient is a float32 number; its relative error is {error:.1e}",
            "it was rounded to single precision on the way: a float32 buffer, constant or accumulator",
        )
    with pytest.raises(GradientMismatch) as caught:
        compared([variable("single", [1.0], [1.0])])
    assert caught.value.worst.summary == "wrong", "a large error is more than rounding"


def test_a_cache_of_single_precision_is_told_if_the_gradient_shows_it(stubs):
    for error in (TOLERANCE, TOLERANCE / 2):
        rounded = variable("x", [1.0, 2.0], [error, -3e-9])
        with pytest.raises(GradientMismatch) as caught:
            compared([rounded], single=["cache.a", "cache.b"])
        (one,) = caught.value.mismatches
        assert one.summary == (
            f"x (2,): the gradient is off by 3.0e-09, far more than the differences are; its relative error is "
            f"{error:.1e}"
        )
        assert one.hint.endswith("on the way: cache.a, cache.b has single precision")
        assert (one.name, one.shape, one.error) == ("x", (2,), error)
        assert len(compared([rounded]).arguments) == 1
    with pytest.raises(GradientMismatch) as caught:
        compared([variable("x", [1.0, 2.0], [1.0, -3e-9])], single=["cache.a"])
    assert caught.value.worst.summary == "wrong"


@pytest.mark.parametrize(
    ("gradient", "single"),
    [
        ([0.5, -3.0, 0.0], True),
        ([0.5, 1 / 3, 0.0], False),
        ([0.0, 0.0, 0.0], False),
        ([1.0, 1.0 + 2.0**-40, -1.0], False),
        ([1.0, 1e300, 2.0], False),
    ],
)
def test_a_gradient_of_single_precision_has_few_digits(gradient, single):
    one = variable("x", [1.0, 1.0, 1.0], gradient)
    assert comparison._is_single(one, PROBE, CheckSettings()) is single
    assert comparison._is_single(one, PROBE, CheckSettings(precision="float32")) is False


def test_what_is_left_where_a_gradient_cancels_has_few_digits_by_chance():
    limit = comparison.CANCELLED
    one = variable("x", [4.0], [2.0**-10])
    for scale, single in ((4 * 2.0**-10 / limit, False), (3.9 * 2.0**-10 / limit, True)):
        assert comparison._is_single(one, SimpleNamespace(scale=scale), CheckSettings()) is single


# What is gathered.

TRIED = ({"a": np.arange(10.0)}, {"b": -np.arange(10.0)})


def test_a_small_array_is_gathered_whole():
    for shape in ((6,), (2, 3), (3, 2), (1, 3)):
        check, size = check_of(math.prod(shape), shape=shape), math.prod(shape)
        known = {
            "row": np.arange(float(shape[-1])),
            "square": np.ones((shape[-1], shape[-1])),
            "infinite": np.full(shape, np.inf),
            "long": np.ones((7, *shape)),
            "thin": np.ones((shape[-1], 1)),
        }
        tried = ({"a": np.ones(shape)}, {"b": np.zeros(shape)})
        found = comparison._gather(check, 0.25, np.random.default_rng(0), known, SETTINGS, tried)
        places = np.arange(float(size)).reshape(shape)
        np.testing.assert_array_equal(found.analytic, places)
        np.testing.assert_array_equal(found.numeric, 10 * places)
        np.testing.assert_array_equal(found.errors, places / 64)
        np.testing.assert_array_equal(found.indices, np.arange(size))
        assert (found.shape, found.whole, found.error) == (shape, True, 0.25)
        assert found.scaled is tried[0]
        assert found.shares is tried[1]
        np.testing.assert_array_equal(found.known["row"], np.broadcast_to(known["row"], shape))
        assert "infinite" not in found.known
        assert "long" not in found.known
        assert set(found.matrices) == {"square"}
        assert found.matrices["square"] is known["square"]


def test_a_large_array_is_gathered_by_a_sample_and_a_bad_element(monkeypatch):
    monkeypatch.setattr(comparison, "SAMPLED", 4)
    check, searched = check_of(10, shape=(2, 5)), list[Any]()
    monkeypatch.setattr(comparison, "_search", lambda *found: searched.append(found) or 9)
    known = {"row": np.arange(5.0), "square": np.ones((5, 5)), "infinite": np.full(5, np.inf)}
    rng = np.random.default_rng(3)
    found = comparison._gather(check, 0.25, rng, known, SETTINGS, TRIED)
    assert searched == [(check, rng)]
    sample = np.random.default_rng(3).choice(10, 4, replace=False)
    assert check.asked == [*sample.tolist(), 9]
    np.testing.assert_array_equal(found.indices, [*sample, 9])
    np.testing.assert_array_equal(found.analytic, found.indices)
    np.testing.assert_array_equal(found.numeric, 10 * found.indices)
    np.testing.assert_array_equal(found.errors, found.indices / 64)
    assert (found.shape, found.whole, found.error, dict(found.matrices)) == ((2, 5), False, 0.25, {})
    assert set(found.known) == {"row"}
    np.testing.assert_array_equal(found.known["row"], found.indices % 5)
    np.testing.assert_array_equal(found.scaled["a"], found.indices)
    np.testing.assert_array_equal(found.shares["b"], -found.indices)


def tried(dout: Any, value: Any, known: dict[str, Any]) -> tuple[Any, Any]:
    """Under a backward that gives its gradient of the output, plus 1."""
    one = variable("x", value, value)
    probe: Any = SimpleNamespace(cotangents=[dout])
    given = {name: one.value if x is value else x for name, x in known.items()}
    return comparison._tried(one, probe, given, lambda douts: {"x": douts[0] + 1, "y": 0})


def test_factors_and_shares_that_fit_are_tried():
    dout, value = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.full((2, 3), 7.0)
    row, square = np.array([1.0, 10.0, 100.0]), np.arange(9.0).reshape(3, 3)
    known = {
        "dout": dout,
        "x": value,
        "row": row,
        "the output": 2 * dout,
        "square": square,
        "wide": np.ones((3, 4)),
        "empty": np.zeros((0, 3)),
        "infinite": np.array([1.0, np.inf, 0.0]),
        "zeros": np.array([1.0, 0.0, 0.0]),
        "cube": np.ones((3, 3, 3)),
    }
    scaled, shares = tried(dout, value, known)
    assert scaled.keys() == {"row", "zeros"}
    np.testing.assert_array_equal(scaled["row"], dout * row + 1)
    times, by = "the gradient of the output times", "the matrix product of the gradient of the output and"
    expected = {
        f"{times} row": dout * row,
        f"{times} the output": 2 * dout * dout,
        f"{times} zeros": dout * known["zeros"],
        f"{by} the transpose of square": dout @ square.T,
        f"{by} square": dout @ square,
    }
    assert shares.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(shares[name], array)


def test_shares_have_the_shape_of_the_argument():
    dout, matrix = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    scaled, shares = tried(dout, np.ones((2, 4)), {"matrix": matrix, "row": np.ones(3)})
    assert set(scaled) == {"row"}
    assert set(shares) == {"the matrix product of the gradient of the output and matrix"}
    np.testing.assert_array_equal(next(iter(shares.values())), dout @ matrix)
    for value in (np.ones((3, 4)), np.ones(4), np.ones((2, 3, 4))):
        assert tried(dout, value, {"matrix": matrix})[1] == {}
    cube = np.arange(24.0).reshape(4, 2, 3)
    (found,) = tried(cube, np.ones((4, 2, 4)), {"matrix": matrix})[1].values()
    np.testing.assert_array_equal(found, cube @ matrix)
    (found,) = tried(dout, np.ones((2, 4)), {"matrix": matrix.T})[1].values()  # as a linear layer has it
    np.testing.assert_array_equal(found, dout @ matrix)
    assert tried(np.arange(3.0), np.ones(4), {"matrix": matrix})[1] == {}, "a vector has no rows"
    for douts in ([], [dout, dout]):
        probe: Any = SimpleNamespace(cotangents=douts)
        assert comparison._tried(variable("x", dout, dout), probe, {"row": np.ones(3)}, lambda found: {}) == ({}, {})


@pytest.mark.parametrize(
    ("shape", "to", "fits"),
    [
        ((), (2, 3), True),
        ((3,), (2, 3), True),
        ((1,), (2, 3), True),
        ((2,), (2, 3), False),
        ((2, 3), (2, 3), True),
        ((2, 1), (2, 3), True),
        ((1, 3), (2, 3), True),
        ((1, 2, 3), (2, 3), False),
        ((3, 2), (2, 3), False),
        ((0,), (2, 3), False),
        ((2,), (1,), False),
        ((4, 3), (5, 4, 3), True),
        ((5, 4), (5, 4, 3), False),
        ((1, 7, 3), (5, 4, 3), False),
    ],
)
def test_what_broadcasts(shape, to, fits):
    assert comparison._broadcasts(shape, to) is fits
    assert fits is (np.broadcast_shapes(shape, to) == to if fits else fits)


# The search in a large array.


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_the_search_finds_the_element_with_the_largest_gap(size):
    for place in range(size):
        gaps = np.full(size, 0.25)
        gaps[place] = 100.0
        asked: list[Any] = []

        def along(direction: Any, gaps: Any = gaps, asked: Any = asked) -> Judgement:
            asked.append(direction)
            total = float((abs(direction).reshape(-1) * gaps).sum())
            return judgement(5.0 - total, 5.0, 0.0)

        check: Any = SimpleNamespace(variable=variable("x", np.ones((1, size)), np.ones((1, size))), along=along)
        assert comparison._search(check, np.random.default_rng(1)) == place
        signs = np.sign(np.random.default_rng(1).standard_normal((1, size)))
        for direction in asked:
            assert direction.shape == (1, size)
            np.testing.assert_array_equal(direction, np.where(direction == 0, 0, signs))
        sizes = [int(np.count_nonzero(direction)) for direction in asked]
        halves = list(zip(sizes[::2], sizes[1::2], strict=True))
        assert all(b - a in (0, 1) for a, b in halves)
        assert sum(halves[0] if halves else (size,)) == size


def test_the_search_passes_over_what_cannot_be_measured():
    """Of equal gaps it takes the first."""

    def search(gaps: list[float]) -> int:
        def along(direction: Any) -> Judgement:
            where = np.flatnonzero(direction)
            return judgement(max(gaps[i] for i in where) if len(where) > 1 else gaps[where[0]], 0.0, 0.0)

        check: Any = SimpleNamespace(variable=variable("x", np.ones(2), np.ones(2)), along=along)
        return comparison._search(check, np.random.default_rng(1))

    assert search([0.0, 0.0]) == 0
    assert search([math.nan, 0.0]) == 0
    assert search([math.nan, 0.5]) == 1
    assert search([0.5, math.nan]) == 0
    assert search([0.25, 0.5]) == 1


# What is said.


def evidence(errors: Any, *, whole: bool = True, indices: Any = None) -> Evidence:
    errors = np.array(errors)
    indices = np.arange(errors.size) if indices is None else np.array(indices)
    return Evidence(errors, errors, errors, indices, (2, 3), whole, 0.5, {}, {})


def test_the_worst_element_is_told(monkeypatch):
    told: list[Any] = []
    monkeypatch.setattr(comparison, "diagnose", lambda *found: told.append(found) or "a diagnosis")
    check, found = check_of(6, shape=(2, 3)), evidence([[0.0, TOLERANCE, TOLERANCE + BIT], [0.25, 0.0, 3.0]])
    numeric = {"x": np.zeros(1), "y": np.ones(1)}
    one = comparison._mismatch(check, found, numeric, SETTINGS)
    assert one == Mismatch(
        "x",
        (2, 3),
        (1, 2),
        5.0,
        50.0,
        3.0,
        "x (2, 3): the worst element is [1, 2]: analytic 5, numeric 50 (step 1e-03), relative error 3.0e+00 "
        "(tolerance 6e-02); 3 of 6 elements are wrong",
        "a diagnosis",
        {5: 5 / 64},
    )
    assert check.asked == [5, ("hint", (1, 2), 3)]
    assert told == [(found, {"y": numeric["y"]}, TOLERANCE)]
    check.said = "a hint"
    assert comparison._mismatch(check, found, numeric, SETTINGS).hint == "a hint"
    assert len(told) == 1


def test_a_sample_is_told_as_one_and_an_element_that_cannot_move_has_no_step(monkeypatch):
    monkeypatch.setattr(comparison, "diagnose", lambda *found: "")
    check = check_of(6, shape=(2, 3))
    check.element = lambda flat: judgement(1.0, 0.0, 7.0, moved=False)  # type: ignore[method-assign]
    one = comparison._mismatch(check, evidence([0.0, 7.0, 1.0], whole=False, indices=[5, 3, 1]), {}, SETTINGS)
    assert one.summary == (
        "x (2, 3): the worst element is [1, 0]: analytic 1, numeric 0, relative error 7.0e+00 (tolerance 6e-02); "
        "2 of 3 elements tried are wrong"
    )


def test_if_no_element_is_wrong_the_error_is_that_along_a_direction():
    check = check_of(6, shape=(2, 3))
    check.said = "a tie"
    one = comparison._mismatch(check, evidence([0.0, TOLERANCE]), {}, SETTINGS)
    assert (one.error, one.index) == (0.5, (0, 1))
    assert "relative error 5.0e-01" in one.summary
    assert "0 of 2 elements are wrong" in one.summary
    assert check.asked[-1] == ("hint", (0, 1), 0)


# Pairs.


def test_a_pair_is_two_functions_or_has_both():
    def forward() -> None: ...

    def backward() -> None: ...

    both: Any = SimpleNamespace(forward=forward, backward=backward)
    assert functions_of((forward, backward)) == functions_of(both) == (forward, backward)
    for wrong in (
        SimpleNamespace(forward=forward),
        SimpleNamespace(backward=backward),
        [forward, backward],
        (forward,),
        (forward, backward, forward),
        (forward, 3),
        (3, backward),
        forward,
    ):
        with pytest.raises(GradientCheckError, match=f"not a {type(wrong).__name__}"):
            functions_of(wrong)
