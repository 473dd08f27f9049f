"""Whole distributions: draws from them, and log-probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain.errors import NonFiniteError
from minitrain.generation.search.distribution import draw, log_probabilities, normalized

ROWS = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32) * 2
LAST = 1 - 2.0**-32


def test_draws() -> None:
    """The first token whose cumulative share exceeds the number."""
    weight = np.array([0.0, 1.0, 0.0, 3.0, 0.0])
    drawn = [draw(weight, number) for number in (0.0, 0.2, 0.25, 0.5, LAST)]
    assert drawn == [1, 1, 3, 3, 3]
    assert [draw(np.array([1.0, 1.0, 2.0]), number) for number in (0.0, 0.25, 0.49, 0.5, LAST)] == [0, 1, 1, 2, 2]
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
def test_damaged_rows(bad: list[float]) -> None:
    """Whichever row it is."""
    for rows in ([bad, [0.0, 0.0]], [[0.0, 0.0], bad]):
        with pytest.raises(NonFiniteError, match="the highest logit is"):
            log_probabilities(np.array(rows))
