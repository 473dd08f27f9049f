"""Calibration by bins: the definitions of Guo et al., written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.measures import Calibration
from minitrain.measures.calibration import MOST_BINS

PREDICTIONS = st.lists(st.tuples(st.floats(1e-6, 1), st.booleans()), min_size=1, max_size=60)


def collected(pairs: list[tuple[float, bool]], bins: int, parts: int = 1) -> Calibration:
    calibration = Calibration(bins)
    for part in range(parts):
        some = pairs[part::parts]
        calibration.add(np.array([c for c, _ in some]), np.array([h for _, h in some], bool))
    return calibration


@given(pairs=PREDICTIONS, bins=st.integers(1, 20))
def test_the_error_is_the_weighted_gap(pairs: list[tuple[float, bool]], bins: int) -> None:
    error, found = 0.0, collected(pairs, bins).table()
    for m in range(bins):
        inside = [(c, h) for c, h in pairs if m / bins < c <= (m + 1) / bins]
        # A product may round across a border that a quotient does not.
        if any(abs(c * bins - round(c * bins)) < 1e-9 and c * bins != round(c * bins) for c, _ in pairs):
            return
        assert found[m].predictions == len(inside)
        if not inside:
            assert math.isnan(found[m].accuracy)
            assert math.isnan(found[m].confidence)
            continue
        accuracy, confidence = np.mean([h for _, h in inside]), np.mean([c for c, _ in inside])
        assert found[m].accuracy == pytest.approx(accuracy)
        assert found[m].confidence == pytest.approx(confidence)
        assert (found[m].above, found[m].to) == (m / bins, (m + 1) / bins)
        error += len(inside) / len(pairs) * abs(accuracy - confidence)
    assert collected(pairs, bins).expected_error == pytest.approx(error, abs=1e-12)


@given(pairs=PREDICTIONS, bins=st.integers(1, 20), parts=st.integers(1, 5))
def test_parts_add_up(pairs: Any, bins: int, parts: int) -> None:
    at_once, in_parts = collected(pairs, bins), collected(pairs, bins, parts)
    np.testing.assert_array_equal(at_once.counts, in_parts.counts)
    assert in_parts.expected_error == pytest.approx(at_once.expected_error, abs=1e-12)


def test_borders_belong_to_the_bin_below() -> None:
    table = collected([(0.5, True), (0.25, False), (1.0, True), (0.500001, True)], 4).table()
    assert [one.predictions for one in table] == [1, 1, 1, 1]


def test_rounding_above_1_is_the_last_bin() -> None:
    assert [one.predictions for one in collected([(1 + 2.0**-50, True), (1.0, True)], 3).table()] == [0, 0, 2]


def test_a_model_that_is_as_sure_as_it_is_right_has_no_error() -> None:
    pairs = [(0.75, i % 4 != 0) for i in range(100)] + [(0.1, i % 10 == 0) for i in range(100)]
    assert collected(pairs, 15).expected_error == pytest.approx(0, abs=1e-12)
    assert collected([(0.9, False)] * 10, 15).expected_error == pytest.approx(0.9)


def test_without_predictions_there_is_no_error() -> None:
    assert Calibration(MOST_BINS).expected_error == 0


@pytest.mark.parametrize("bins", [0, -3, MOST_BINS + 1])
def test_a_number_of_bins_out_of_range_is_refused(bins: int) -> None:
    with pytest.raises(ConfigError, match="bins="):
        Calibration(bins)
