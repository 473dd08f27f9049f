"""Measures against scikit-learn: scores of classes, top k, confusion; and scipy's bootstrap of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.measures import CalibrationError, ConfusionMatrix, Perplexity, SampleTable, TopK, intervals
from tests.helpers.measuring.measured import value_of

metrics: Any = pytest.importorskip("sklearn.metrics")
pytestmark = pytest.mark.peers
V = 5


def drawn(seed: int, count: int = 30) -> tuple[Any, Any]:
    """Logits without ties, and targets; some classes may be missing."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, rng.integers(2, V + 1), count)
    return rng.standard_normal((count, V)) + 1.5 * np.eye(V)[targets], targets


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_scores_of_classes(seed: int) -> None:
    logits, targets = drawn(seed)
    measure, found = ConfusionMatrix(V), logits.argmax(axis=1)
    sums = measure.sums(measure.rows(logits, (None, targets)))
    np.testing.assert_array_equal(measure.matrix(sums), metrics.confusion_matrix(targets, found, labels=range(V)))
    values = measure.value(sums)
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(targets, found))
    for average in ("macro", "micro", "weighted"):
        expected = metrics.precision_recall_fscore_support(targets, found, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
            assert values[f"{name}_{average}"] == pytest.approx(value, rel=1e-12), (name, average)
    each = metrics.precision_recall_fscore_support(targets, found, labels=range(V), zero_division=0)
    whole = ConfusionMatrix(V, per_class=True).value(sums)
    for name, expected in zip(("precision", "recall", "f1"), each, strict=False):
        assert [whole[f"{name}_{i}"] for i in range(V)] == pytest.approx(expected.tolist(), rel=1e-12)


@given(seed=st.integers(0, 10**6), k=st.integers(1, V - 1))
def test_top_k(seed: int, k: int) -> None:
    logits, targets = drawn(seed)
    expected = metrics.top_k_accuracy_score(targets, logits, k=k, labels=range(V))
    assert value_of(TopK(k), logits, (None, targets))[""] == pytest.approx(expected)


@given(seed=st.integers(0, 10**6))
def test_perplexity_and_calibration(seed: int) -> None:
    logits, targets = drawn(seed)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.exp(metrics.log_loss(targets, p, labels=range(V)))
    assert value_of(Perplexity(), logits, (None, targets))[""] == pytest.approx(expected, rel=1e-9)
    calibration: Any = pytest.importorskip("sklearn.calibration")
    right, confidence = p.argmax(axis=1) == targets, p.max(axis=1)
    accuracy, sure = calibration.calibration_curve(right, confidence, n_bins=7)
    counts = np.histogram(confidence, np.linspace(0, 1, 8))[0]
    error = (counts[counts > 0] / len(targets) * abs(accuracy - sure)).sum()
    assert value_of(CalibrationError(7), logits, (None, targets))[""] == pytest.approx(error, rel=1e-9)


def test_the_interval_of_f1_is_that_of_scipy() -> None:
    stats: Any = pytest.importorskip("scipy.stats")
    logits, targets = drawn(1, 60)
    measure = ConfusionMatrix(V)
    table = SampleTable({"m": measure}, {"m": measure.rows(logits, (None, targets))})

    def f1(targets: Any, found: Any) -> float:
        return float(metrics.f1_score(targets, found, average="macro", zero_division=0))

    ours = intervals(table, resamples=2000)["m_f1_macro"]
    data = (targets, logits.argmax(axis=1))
    theirs = stats.bootstrap(data, f1, paired=True, vectorized=False, n_resamples=2000, method="BCa", rng=0)
    assert ours.value == pytest.approx(f1(*data))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02)
