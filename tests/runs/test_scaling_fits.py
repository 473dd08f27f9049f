"""A scaling law in its parts: prediction, words, doubts, and what the bootstrap draws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DataError
from minitrain.random import Key, random_bits
from minitrain.runs import fit_scaling
from minitrain.runs.comparison import scaling
from minitrain.runs.comparison.scaling import ScalingFit

X = np.geomspace(1e4, 1e7, 9)
LOSSES = 1.2 + 30 / X**0.3
N, D = (grid.ravel() for grid in np.meshgrid([1e4, 1e5, 1e6], [1e5, 1e6, 1e7]))
BOTH = 1.5 + 40 / N**0.3 + 90 / D**0.25
VALUES = {"E": 2.0, "A": 8.0, "alpha": 0.5, "B": 27.0, "beta": 1 / 3}


def a_fit(values: dict[str, float], warnings: tuple[str, ...] = (), **points: Any) -> ScalingFit:
    intervals = {name: (value / 2, 2 * value) for name, value in values.items()}
    return ScalingFit(points, np.ones(7), values, intervals, warnings)


def of(*names: str) -> dict[str, float]:
    return {name: VALUES[name] for name in names}


def test_predictions_are_the_law():
    one, two = np.array([4.0, 16.0]), np.array([8.0, 64.0])
    both = a_fit(VALUES, parameters=one, tokens=two)
    np.testing.assert_allclose(both.predict(parameters=one, tokens=two), [2 + 4 + 13.5, 2 + 2 + 6.75])
    assert both.predict(parameters=4, tokens=two).tolist() == pytest.approx([2 + 4 + 13.5, 2 + 4 + 6.75])
    np.testing.assert_allclose(a_fit(of("E", "A", "alpha"), parameters=one).predict(parameters=one), [6, 4])
    np.testing.assert_allclose(a_fit(of("E", "B", "beta"), tokens=two).predict(tokens=two), [15.5, 8.75])
    for wrong, words in (({"parameters": 1}, "parameters"), ({}, "nothing")):
        with pytest.raises(ConfigError, match=f"predict: give parameters and tokens, got {words}$"):
            both.predict(**wrong)


def test_a_fit_says_its_law_its_intervals_and_its_doubts():
    both = a_fit(VALUES, ("it rains",), parameters=X, tokens=X)
    assert both.describe().splitlines() == [
        "L = E + A / parameters^alpha + B / tokens^beta, from 7 runs",
        "  E                2   90 % interval 1 to 4",
        "  A                8   90 % interval 4 to 16",
        "  alpha          0.5   90 % interval 0.25 to 1",
        "  B               27   90 % interval 13.5 to 54",
        "  beta        0.3333   90 % interval 0.1667 to 0.6667",
        "  best parameters for some compute grow with compute^0.40",
        "  careful: it rains",
    ]
    alone = a_fit(of("E", "B", "beta"), tokens=X).describe()
    assert alone.startswith("L = E + B / tokens^beta, from 7 runs\n")
    assert "compute" not in alone


@pytest.mark.parametrize("which", ["parameters", "tokens", "both"])
@settings(max_examples=1, deadline=None)
@given(
    floor=st.floats(0.5, 3),
    coefficients=st.tuples(st.floats(5, 60), st.floats(5, 60)),
    exponents=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
)
def test_a_law_without_noise_is_found(floor, coefficients, exponents, which):
    grids = {"parameters": N, "tokens": D} if which == "both" else {which: X}
    # Coefficients at the middle of the points, so that every term matters.
    terms = [
        c * (x / np.exp(np.log(x).mean())) ** -e
        for c, e, x in zip(coefficients, exponents, grids.values(), strict=False)
    ]
    losses = floor + np.sum(terms, axis=0)
    fit = fit_scaling(losses, **grids, resamples=0)
    np.testing.assert_allclose(fit.predict(**grids), losses, rtol=2e-3)
    found = [fit.values[name] for name in ("alpha", "beta") if name in fit.values]
    np.testing.assert_allclose(found, exponents[: len(grids)] if which != "tokens" else exponents[:1], rtol=0.1)


def test_the_search_has_the_gradient_of_its_loss(monkeypatch):
    """A wrong slope still finds something, so it is compared with differences where the search begins."""
    from scipy import optimize

    seen = []

    def checked(loss: Any, start: Any, *, jac: bool, method: str, bounds: Any, options: Any) -> Any:
        assert jac
        assert (method, options) == ("L-BFGS-B", {"maxiter": 2000})
        value, slope = loss(start)
        for i in range(len(start)):
            step = np.zeros(len(start))
            step[i] = 1e-5
            numeric = (loss(start + step)[0] - loss(start - step)[0]) / 2e-5
            assert slope[i] == pytest.approx(numeric, rel=1e-4, abs=1e-3 * abs(slope).max()), i
        seen.append((start, value, bounds))
        return optimize.OptimizeResult(x=start, fun=value)

    monkeypatch.setattr(optimize, "minimize", checked)
    fit = fit_scaling(BOTH, parameters=N, tokens=D, resamples=0)
    assert len(seen) == 3 * 4 * 4  # shares of the lowest loss for E, exponents of both variables
    for place in (2, 4):
        assert {round(start[place], 9) for start, _, _ in seen} == {0.1, 0.3, 0.6, 1.0}
    floors = {round(math.exp(start[0]) / BOTH.min(), 6) for start, _, _ in seen}
    assert floors == {0.1, 0.5, 0.9}
    assert all(bounds == [(None, math.log(BOTH.min()))] + [(None, None), (1e-3, 5.0)] * 2 for _, _, bounds in seen)
    # Each start has the middle of the losses at the middle of the points; the best start is what is returned.
    best = min(seen, key=lambda one: one[1])[0]
    assert fit.values["E"] == pytest.approx(math.exp(best[0]))
    assert fit.values["alpha"] == pytest.approx(best[2])
    assert fit.values["beta"] == pytest.approx(best[4])
    assert fit.values["A"] == pytest.approx(math.exp(best[1] + best[2] * np.log(N).mean()))
    assert fit.values["B"] == pytest.approx(math.exp(best[3] + best[4] * np.log(D).mean()))
    for start, _, _ in seen:
        middle = math.exp(start[0]) + sum(
            math.exp(start[i] - start[i + 1] * (np.median(np.log(x)) - np.log(x).mean())) for i, x in ((1, N), (3, D))
        )
        assert middle == pytest.approx(np.median(BOTH))


@pytest.mark.parametrize("far", [False, True])
def test_the_loss_of_a_point_is_hubers(monkeypatch, far):
    """Half the square of the error of the logarithm up to a thousandth, and linear beyond."""
    from scipy import optimize

    losses = []
    monkeypatch.setattr(
        optimize,
        "minimize",
        lambda loss, start, **options: losses.append(loss) or optimize.OptimizeResult(x=start, fun=1),
    )
    fit_scaling(LOSSES, tokens=X, resamples=0)
    by = 0.3 if far else 4e-4
    exact = np.array([np.log(1.2), np.log(30) - 0.3 * np.log(X).mean(), 0.3])
    assert losses[0](exact)[0] == pytest.approx(0, abs=1e-9)
    shifted = exact + np.array([by, by, 0])  # every prediction is larger by this factor
    expected = 1e-3 * (by - 5e-4) if far else by**2 / 2
    assert losses[0](shifted)[0] == pytest.approx(len(X) * expected / 1e-6, rel=1e-6)


def test_the_loss_is_finite_wherever_the_search_looks(monkeypatch):
    """Terms from exp(-1727) to exp(1727): each point has the largest of its own terms taken out."""
    from scipy import optimize

    losses = []
    monkeypatch.setattr(
        optimize,
        "minimize",
        lambda loss, start, **options: losses.append(loss) or optimize.OptimizeResult(x=start, fun=1),
    )
    x = np.geomspace(1e-150, 1e150, 9)
    fit_scaling(1 + x**-0.001, tokens=x, resamples=0)
    logs = np.log(x) - np.log(x).mean()
    for exponent in (1.0, 5.0):
        value, slope = losses[0](np.array([0.0, 0.0, exponent]))
        error = np.logaddexp(0, -exponent * logs) - np.log(1 + x**-0.001)
        assert (abs(error) > 1e-3).sum() == 8  # at the middle of the points the law is exact
        far = np.where(abs(error) > 1e-3, 1e-3 * (abs(error) - 5e-4), 0)
        assert value == pytest.approx(far.sum() / 1e-6, rel=1e-9)
        signs = np.sign(np.round(error, 9)) / 1e-3
        assert slope[0] == pytest.approx((signs * (exponent * logs >= 0) * np.where(logs == 0, 0.5, 1)).sum())


def test_the_bootstrap_draws_runs_with_replacement_and_takes_quantiles(monkeypatch):
    """Fits of resampled runs stand in for themselves: E becomes the mean of the losses drawn."""
    drawn = []

    def stand_in(logs: Any, y: Any, starts: Any) -> Any:
        drawn.append((logs[0], y, len(starts)))
        return np.array([np.log(y.mean()), 0.0, 0.3])

    monkeypatch.setattr(scaling, "_fit", stand_in)
    fit = fit_scaling(LOSSES, tokens=X, resamples=40, seed=5)
    assert drawn[0][2] == 12
    assert all(starts == 1 for _, _, starts in drawn[1:])
    places = [[int(np.flatnonzero(y == LOSSES)[0]) for y in one] for _, one, _ in drawn[1:]]
    for (logs, _, _), rows in zip(drawn[1:], places, strict=True):
        np.testing.assert_array_equal(logs, np.log(X)[rows])  # each run with its own number
    bits = random_bits(Key.from_seed(5).fold("scaling"), (40, 9)).astype(object)
    expected = [[int(bit) * 9 // 2**32 for bit in row] for row in bits]
    assert places == [row for row in expected if len(set(row)) >= 3]
    means = [LOSSES[rows].mean() for rows in places]
    assert fit.intervals["E"] == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))
    assert fit.intervals["B"] == pytest.approx((1, 1))
    assert fit.values == pytest.approx({"E": LOSSES.mean(), "B": 1, "beta": 0.3})


@pytest.mark.parametrize("count", [3, 4, 5])
def test_few_different_runs_are_no_resample(monkeypatch, count):
    sizes = []
    monkeypatch.setattr(
        scaling, "_fit", lambda logs, y, starts: sizes.append(len(set(y.tolist()))) or np.array([0.0, 0.0, 0.3])
    )
    fit_scaling(LOSSES[:count], tokens=X[:count], resamples=100)
    assert min(sizes) == 3
    assert 1 < len(sizes) < 101


def test_runs_of_one_size_are_no_resample(monkeypatch):
    """Five of six runs have the same number of tokens: a resample without the sixth has no law."""
    drawn = []
    monkeypatch.setattr(
        scaling, "_fit", lambda logs, y, starts: drawn.append(logs[0].tolist()) or np.array([0.0, 0.0, 0.3])
    )
    fit_scaling(LOSSES[:6], tokens=[1, 1, 1, 1, 1, math.e], resamples=60)
    bits = random_bits(Key.from_seed(0).fold("scaling"), (60, 6)).astype(object)
    rows = [[int(bit) * 6 // 2**32 for bit in row] for row in bits]
    expected = [row for row in rows if 5 in row and len(set(row)) >= 3]
    assert len(expected) < sum(len(set(row)) >= 3 for row in rows)
    assert drawn[1:] == [[float(run == 5) for run in row] for row in expected]


def test_a_variable_that_does_not_vary_is_left_out(monkeypatch):
    monkeypatch.setattr(scaling, "_fit", lambda logs, y, starts: np.array([0.0, *[1.0, 0.3] * len(logs)]))
    same, two = np.full(9, 5.0), np.where(np.arange(9) < 4, 1.0, 20.0)
    assert list(fit_scaling(LOSSES, parameters=same, tokens=X).points) == ["tokens"]
    assert list(fit_scaling(LOSSES, parameters=two, tokens=same).values) == ["E", "A", "alpha"]
    assert list(fit_scaling(LOSSES, parameters=two, tokens=X).values) == ["E", "A", "alpha", "B", "beta"]
    for neither in ({}, {"parameters": same}, {"parameters": same, "tokens": same}):
        with pytest.raises(ConfigError, match="vary one of them"):
            fit_scaling(LOSSES, **neither)


def test_a_law_needs_as_many_runs_as_it_has_numbers(monkeypatch):
    monkeypatch.setattr(scaling, "_fit", lambda logs, y, starts: np.array([0.0, *[1.0, 0.3] * len(logs)]))
    assert len(fit_scaling(LOSSES[:3], tokens=X[:3]).losses) == 3
    assert len(fit_scaling(BOTH[2:7], parameters=N[2:7], tokens=D[2:7]).losses) == 5
    with pytest.raises(DataError, match="a law of 3 numbers needs 3 runs or more, better 9; there are 2"):
        fit_scaling(LOSSES[:2], tokens=X[:2])
    with pytest.raises(DataError, match="a law of 5 numbers needs 5 runs or more, better 15; there are 4"):
        fit_scaling(BOTH[2:6], parameters=N[2:6], tokens=D[2:6])


def test_numbers_below_one_are_fine(monkeypatch):
    monkeypatch.setattr(scaling, "_fit", lambda logs, y, starts: np.array([0.0, 1.0, 0.3]))
    assert fit_scaling(LOSSES / 1e3, tokens=X / 1e9).losses.max() < 1


def doubts(monkeypatch: Any, values: list[float], spread: float = 1.0, **points: Any) -> list[str]:
    """The warnings of a fit whose numbers and intervals are given."""
    turns = iter(range(10**6))

    def stand_in(logs: Any, y: Any, starts: Any) -> Any:
        found = np.array(values)
        found[0] += math.log(spread) * (next(turns) % 2)
        return found

    monkeypatch.setattr(scaling, "_fit", stand_in)
    x = next(iter(points.values()))
    resamples = points.pop("resamples", 60)
    return list(fit_scaling(np.linspace(2, 3, len(x)), **points, resamples=resamples).warnings)


def test_doubts_come_at_their_limits(monkeypatch):
    fine = [0.0, 1.0, 0.3]
    seven = np.geomspace(1, 8, 7)
    assert doubts(monkeypatch, fine, tokens=seven) == []
    assert doubts(monkeypatch, fine, tokens=np.geomspace(1, 8, 6)) == []
    assert doubts(monkeypatch, fine, tokens=np.geomspace(1, 8, 5)) == [
        "5 runs for 3 numbers leave little to tell whether the law holds"
    ]
    assert doubts(monkeypatch, fine, tokens=np.geomspace(2, 15.8, 7)) == [
        "tokens differ by a factor of 7.9 only; 8 or more tell a law"
    ]
    assert doubts(monkeypatch, fine, spread=2.9, tokens=seven) == []
    assert doubts(monkeypatch, fine, spread=4, tokens=seven) == ["E is hardly determined: 1 to 4"]
    assert doubts(monkeypatch, fine, spread=3.5, tokens=seven) == ["E is hardly determined: 1 to 3.5"]
    (few,) = doubts(monkeypatch, fine, tokens=seven, resamples=49)
    assert few.startswith("only 49 samples of the bootstrap had enough different runs")
    assert doubts(monkeypatch, fine, tokens=seven, resamples=50) == []
    low, floor = math.log(0.0199), "no floor E is seen: the runs are too small to tell where the loss ends"
    assert doubts(monkeypatch, [low, 1.0, 0.3], tokens=seven) == [floor]
    assert doubts(monkeypatch, [math.log(0.0201), 1.0, 0.3], tokens=seven) == []


def test_a_limit_itself_is_no_doubt():
    found = scaling._warnings(
        {"tokens": np.array([1.0, 8.0])},
        np.full(6, 2.0),
        of("E", "B") | {"E": 0.02, "beta": 1.0},
        {"E": (2, 6)},
        fits=50,
    )
    assert found == ()


@pytest.mark.parametrize("name", ["losses", "parameters", "tokens"])
@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_number_that_is_none_is_named(name, wrong):
    given: dict[str, Any] = {"losses": BOTH, "parameters": N, "tokens": D}
    given[name] = np.where(np.arange(9) == 4, wrong, given[name])
    with pytest.raises(DataError, match=f"fit_scaling: {name} must be one finite number above 0 for each run"):
        fit_scaling(**given)
    given[name] = given[name][:8] if name != "losses" else BOTH[:, None]
    with pytest.raises(DataError, match=f"fit_scaling: {name} must be one finite number above 0 for each run"):
        fit_scaling(**given)
