"""Whole distributions: the weights of sampling, and log-probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minitrain.errors import NonFiniteError
from minitrain.generation import SamplingParams
from minitrain.generation.choosing import choose, cuts_of
from minitrain.generation.search.distribution import draw, log_probabilities, normalized, weights
from tests.helpers.plain_generation import distribution

ROWS = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32) * 2
LAST = 1 - 2.0**-32


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.7012}, {"temperature": 2.0, "top_k": 4, "min_p": 0.1012}],
)
def test_weights_are_those_of_sampling(settings: dict[str, Any]) -> None:
    """Those of each row alone."""
    params = SamplingParams(**settings)
    found = weights(ROWS, params)
    assert (found.dtype, found.shape) == (np.float64, ROWS.shape)
    for row, own in zip(ROWS, found, strict=True):
        assert own.max() == 1
        assert own / own.sum() == pytest.approx(distribution(row.tolist(), params), abs=1e-6)
        for number in np.linspace(0, LAST, 50):
            assert draw(own, number) == choose(row, params.temperature, cuts_of(params), number)


def test_the_most_likely_token_has_all_the_weight() -> None:
    """At temperature 0, and nearly so at a tiny one."""
    expected = (ROWS.max(axis=1, keepdims=True) == ROWS).astype(float)
    assert np.array_equal(weights(ROWS, SamplingParams(temperature=0)), expected)
    assert np.array_equal(weights(ROWS, SamplingParams(temperature=1e-308)), expected)


def test_draws() -> None:
    """The first token whose cumulative share exceeds the number."""
    weight = np.array([0.0, 1.0, 0.0, 3.0, 0.0])
    drawn = [draw(weight, number) for number in (0.0, 0.2, 0.25, 0.5, LAST)]
    assert drawn == [1, 1, 3, 3, 3]
    assert np.array_equal(normalized(np.array([weight, 2 * weight])), [weight / 4] * 2)


def test_log_probabilities() -> None:
    """Of each row; a banned token has minus infinity."""
    rows = np.append(ROWS, np.full((3, 1), -np.inf, np.float32), axis=1)
    found = log_probabilities(rows)
    assert (found.dtype, found.shape) == (np.float64, rows.shape)
    for row, own in zip(rows.tolist(), found, strict=True):
        total = math.log(sum(math.exp(x) for x in row))
        assert own == pytest.approx([x - total for x in row])


@pytest.mark.parametrize("bad", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
@pytest.mark.parametrize("temperature", [0, 1])
def test_damaged_rows(bad: list[float], temperature: float) -> None:
    """Whichever row it is."""
    for rows in ([bad, [0.0, 0.0]], [[0.0, 0.0], bad]):
        with pytest.raises(NonFiniteError, match="the highest logit is"):
            weights(np.array(rows), SamplingParams(temperature=temperature))
        with pytest.raises(NonFiniteError, match="the highest logit is"):
            log_probabilities(np.array(rows))
