"""Bootstrap intervals: scipy's formulas on the same draws, and how often they hold the truth."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minitrain.errors import ConfigError, DataError
from minitrain.measures import Accuracy, ConfusionMatrix, SampleTable, intervals
from tests.helpers.measuring.measured import classified

module = importlib.import_module("minitrain.measures.samples.bootstrap")  # the function has its name


def hits(seed: int, count: int, p: float = 0.7) -> SampleTable:
    rows = np.stack([np.random.default_rng(seed).random(count) < p, np.ones(count)], axis=1).astype(np.float64)
    return SampleTable({"accuracy": Accuracy()}, {"accuracy": rows})


@pytest.mark.filterwarnings("ignore::scipy.stats.DegenerateDataWarning")
@pytest.mark.parametrize("method", ["percentile", "bca"])
@given(seed=st.integers(0, 10**6), level=st.sampled_from([0.5, 0.9, 0.95]), ties=st.booleans())
def test_the_formulas_are_those_of_scipy(method: str, seed: int, level: float, ties: bool) -> None:
    x = np.random.default_rng(seed).exponential(size=12)
    x = np.floor(x) + (np.arange(12) == 3) if ties else x  # means that are equal
    found = stats.bootstrap(
        (x,), np.mean, n_resamples=99, confidence_level=level, method=method, rng=np.random.default_rng(seed)
    )
    left_out = np.array([np.delete(x, i).mean() for i in range(12)]) if method == "bca" else np.zeros(0)
    ends = module.interval_of(found.bootstrap_distribution, x.mean(), level, left_out)
    assert ends == pytest.approx(tuple(found.confidence_interval), rel=1e-9)


def test_what_bca_cannot_correct_is_left_alone() -> None:
    even, varied = np.arange(101) / 100, np.array([0.1, 0.2, 0.9])
    assert module.interval_of(even, 0.5, 0.9, np.full(5, 0.3)) == pytest.approx((0.05, 0.95)), "nothing was skewed"
    for outside in (-1.0, 2.0):
        assert module.interval_of(even, outside, 0.9, varied) == pytest.approx((0.05, 0.95)), "the bias has no bounds"


def test_intervals_are_made_of_draws_and_of_samples_left_out() -> None:
    table = hits(3, 30)
    rows = table.rows["accuracy"]
    drawn = np.array([w @ rows[:, 0] / 30 for w in module.draws(30, 99, 5)])
    left_out = np.array([np.delete(rows[:, 0], i).mean() for i in range(30)])
    found = {method: intervals(table, resamples=99, seed=5, method=method)["accuracy"] for method in module.METHODS}
    value = rows[:, 0].mean()
    assert found["percentile"][1:] == pytest.approx(module.interval_of(drawn, value, 0.95, np.zeros(0)))
    assert found["bca"][1:] == pytest.approx(module.interval_of(drawn, value, 0.95, left_out))
    assert found["bca"] != found["percentile"]


def test_draws_are_of_the_same_size_and_seeded() -> None:
    first, again = (np.stack(list(module.draws(7, 50, 3))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.sum(axis=1) == 7).all()
    assert not np.array_equal(first, np.stack(list(module.draws(7, 50, 4))))
    assert abs(first.mean(axis=0) - 1).max() < 0.5


def test_an_interval_of_a_mean() -> None:
    table = hits(0, 400)
    for method in module.METHODS:
        found = intervals(table, method=method, resamples=800)["accuracy"]
        p = found.value
        half = 1.96 * np.sqrt(p * (1 - p) / 400)
        assert found.low == pytest.approx(p - half, abs=0.01)
        assert found.high == pytest.approx(p + half, abs=0.01)
        assert intervals(table, method=method, resamples=800)["accuracy"] == found
        assert intervals(table, method=method, resamples=800, seed=1)["accuracy"] != found
    narrow = intervals(table, level=0.5, resamples=800)["accuracy"]
    assert narrow.high - narrow.low < found.high - found.low


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        found = intervals(hits(seed, 60), level=0.8, resamples=100)["accuracy"]
        held += found.low <= 0.7 <= found.high
    assert 70 <= held <= 92


def test_values_that_are_no_means_have_intervals() -> None:
    logits, targets = classified(4, 80)
    measure = ConfusionMatrix(4)
    table = SampleTable({"m": measure}, {"m": measure.rows(logits, (None, targets))})
    found = intervals(table, resamples=60)
    assert found.keys() == table.values().keys()
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert found["m_f1_macro"].high - found["m_f1_macro"].low > 0.05


def test_large_samples_are_left_out_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JACKKNIFE_GROUPS", 3)
    found = np.stack(list(module._leaving_out(7)))
    np.testing.assert_array_equal(found, 1 - (np.arange(7) % 3 == np.arange(3)[:, None]))
    assert len(list(module._leaving_out(2))) == 2


def test_a_value_without_noise_is_its_own_interval() -> None:
    rows = np.ones((5, 2))
    found = intervals(SampleTable({"a": Accuracy()}, {"a": rows}), resamples=20)["a"]
    assert found == (1.0, 1.0, 1.0)


def test_draws_without_a_value_are_left_out() -> None:
    rows = np.array([[1.0, 1.0], [0.0, 0.0]])  # the second sample does not count, and is drawn alone now and then
    assert intervals(SampleTable({"a": Accuracy()}, {"a": rows}), resamples=40)["a"] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.0}, "level=1.0 must be between 0 and 1"),
        ({"level": 0.0}, "level=0.0 must be between 0 and 1"),
        ({"resamples": 0}, "resamples=0 must be at least 1"),
        ({"method": "basic"}, "method='basic'; use 'bca' or 'percentile'"),
    ],
)
def test_settings_out_of_range_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        intervals(hits(0, 3), **options)


def test_one_sample_says_nothing_of_noise() -> None:
    with pytest.raises(DataError, match="there are 1 samples: noise can be measured from two samples on"):
        intervals(hits(0, 1))
    assert intervals(hits(0, 2), resamples=1)
