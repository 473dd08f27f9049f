"""Perplexity, bits per byte and calibration of logits: the definitions, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import DataError, NonFiniteError
from minitrain.measures import BitsPerByte, Calibration, CalibrationError, Perplexity, perplexity
from minitrain.measures.predictions import counted_predictions
from tests.helpers.measuring.measured import classified, value_of


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 4))
def test_perplexity_and_bits_by_the_softmax(seed: int, rows: int) -> None:
    logits, targets = classified(seed, rows, 3, dtype=np.float64)
    lengths, counts = np.array([1, 2, 0, 5]), targets >= 0
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    nats = -np.take_along_axis(log_p, (targets * counts)[..., None], -1)[..., 0] * counts
    found = Perplexity().rows(logits, (None, targets))
    np.testing.assert_allclose(found[:, 0], nats.sum(axis=1), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found[:, 1], counts.sum(axis=1))
    if counts.any():
        value = value_of(Perplexity(), logits, (None, targets))
        assert value == {"": pytest.approx(math.exp(nats.sum() / counts.sum()), rel=1e-12)}
    size = (lengths[targets * counts] * counts).sum()
    expected = {"": pytest.approx(nats.sum() / math.log(2) / size, rel=1e-12)} if size else {}
    assert value_of(BitsPerByte(lengths), logits, (None, targets)) == expected


def test_nothing_that_counts_has_no_perplexity() -> None:
    logits, nothing = np.zeros((2, 3)), np.array([-100, -100])
    for measure in (Perplexity(), BitsPerByte([1, 1, 1]), CalibrationError(3)):
        assert value_of(measure, logits, (None, nothing)) == {}


def test_an_overflow_is_infinite() -> None:
    assert perplexity(math.log(3)) == pytest.approx(3)
    assert perplexity(709) < math.inf
    assert perplexity(710) == math.inf
    assert Perplexity().value(np.array([2000.0, 2.0])) == {"": math.inf}
    assert Perplexity().value(np.array([0.0, 2.0])) == {"": 1.0}
    assert BitsPerByte([1]).settings() == {"lengths": []}


def test_another_target_may_be_ignored() -> None:
    logits, targets = np.zeros((2, 4)), np.array([0, 3])
    assert value_of(Perplexity(ignore_index=3), logits, (None, targets)) == {"": pytest.approx(4)}
    np.testing.assert_array_equal(Perplexity(ignore_index=3).rows(logits, (None, targets))[:, 1], [1, 0])
    np.testing.assert_array_equal(BitsPerByte([7, 1, 1, 1], ignore_index=3).rows(logits, (None, targets))[:, 1], [7, 0])
    assert CalibrationError(2, ignore_index=3).rows(logits, (None, targets))[:, :2].sum() == 1


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(NonFiniteError, match="the highest logit is nan"):
        Perplexity().rows(np.array([[np.nan, 0.0]]), (None, np.array([0])))
    with pytest.raises(DataError, match="the target 4 is no class"):
        Perplexity().rows(np.zeros((1, 4)), (None, np.array([4])))


def test_predictions_keep_their_samples() -> None:
    logits, targets = classified(3, 3, 2, 2, ignored=0.5)
    _, sample, samples = counted_predictions(logits, targets, -100)
    np.testing.assert_array_equal(sample, np.nonzero((targets >= 0).reshape(3, -1))[0])
    assert samples == 3
    found, sample, samples = counted_predictions(np.zeros((0, 4)), np.zeros(0, int), -100)
    assert (len(found.rank), len(sample), samples) == (0, 0, 0)


@given(seed=st.integers(0, 10**6), bins=st.integers(1, 6))
def test_the_calibration_of_rows_is_that_of_predictions(seed: int, bins: int) -> None:
    logits, targets = classified(seed, 4, 3, dtype=np.float64)
    measure, direct = CalibrationError(bins), Calibration(bins)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    counts = targets >= 0
    confidence, hit = p.max(axis=-1)[counts], (logits.argmax(axis=-1) == targets)[counts]
    if np.any(abs(confidence * bins - np.round(confidence * bins)) < 1e-9):
        return
    direct.add(confidence, hit)
    rows = measure.rows(logits, (None, targets))
    assert rows.shape == (4, 3 * bins)
    np.testing.assert_array_equal(rows[:, :bins].sum(axis=1), counts.sum(axis=1))
    found = Calibration.of_sums(measure.sums(rows))
    np.testing.assert_array_equal(found.counts, direct.counts)
    np.testing.assert_allclose(np.array(found.table()), np.array(direct.table()), rtol=1e-12)
    assert measure.value(measure.sums(rows)) == ({"": pytest.approx(direct.expected_error)} if counts.any() else {})
    assert measure.settings() == {"bins": bins}
