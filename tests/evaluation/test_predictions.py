"""Log-probability, rank and confidence are those of plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import NonFiniteError
from minitrain.evaluation.predictions import predictions


@st.composite
def rows(draw: Any) -> tuple[Any, Any]:
    """Logits (M, V), many of them equal, and a target each."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    M, V = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    logits = np.round(2 * rng.standard_normal((M, V))) + draw(st.sampled_from([0.0, -500.0, 80.0]))
    return logits.astype(draw(st.sampled_from([np.float32, np.float64]))), rng.integers(0, V, M)


@given(rows())
def test_predictions_are_those_of_plain_formulas(drawn: tuple[Any, Any]) -> None:
    logits, targets = drawn
    found = predictions(logits, targets)
    for m, (row, target) in enumerate(zip(logits.astype(np.float64), targets, strict=True)):
        share = np.exp(row - row.max())
        share /= share.sum()
        assert found.log_probability[m] == pytest.approx(np.log(share[target]), abs=2e-6)
        assert found.confidence[m] == pytest.approx(share.max(), rel=2e-6)
        order = sorted(range(len(row)), key=lambda token: (-row[token], token))
        assert found.rank[m] == order.index(target)
        assert found.hit[m] == (row.argmax() == target)
    assert found.log_probability.dtype == np.float64


@given(rows())
def test_a_row_does_not_depend_on_the_others(drawn: tuple[Any, Any]) -> None:
    logits, targets = drawn
    together = predictions(logits, targets)
    for m in range(len(targets)):
        alone = predictions(logits[m : m + 1], targets[m : m + 1])
        assert all(a[0] == b[m] for a, b in zip(alone, together, strict=True))


def test_a_banned_token_has_probability_0() -> None:
    found = predictions(np.array([[0.0, -np.inf]], np.float32), np.array([1]))
    assert found.log_probability[0] == -np.inf
    assert found.rank[0] == 1


@pytest.mark.parametrize("logits", [[0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_damaged_logits_are_refused(logits: list[float]) -> None:
    with pytest.raises(NonFiniteError, match="the highest logit is"):
        predictions(np.array([[0.0, 1.0], logits], np.float32), np.array([0, 1]))
