"""Log-probability, rank and confidence are those of plain formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import NonFiniteError
from minitrain.evaluation import predictions as module
from minitrain.evaluation.predictions import predict, predictions
from minitrain.measures.predictions import counted_predictions
from minitrain.models import GPT, GPTConfig
from tests.helpers.decoders import randomize


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


@pytest.mark.parametrize("shape", [(4,), (1, 3), (4, 3), (2, 3, 2), (0, 3)])
def test_predictions_that_count_know_their_sample(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((*shape, 5)), rng.integers(0, 5, shape)
    targets.reshape(-1)[1::3] = -1
    found, sample, samples = counted_predictions(logits, targets, -1)
    places = np.argwhere(targets != -1)
    assert samples == shape[0]
    assert sample.tolist() == places[:, 0].tolist()
    kept = tuple(places.T)
    for mine, expected in zip(found, predictions(logits[kept], targets[kept]), strict=True):
        np.testing.assert_array_equal(mine, expected)


def test_a_banned_token_has_probability_0() -> None:
    found = predictions(np.array([[0.0, -np.inf]], np.float32), np.array([1]))
    assert found.log_probability[0] == -np.inf
    assert found.rank[0] == 1


@pytest.mark.parametrize("logits", [[0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_damaged_logits_are_refused(logits: list[float]) -> None:
    with pytest.raises(NonFiniteError, match="the highest logit is"):
        predictions(np.array([[0.0, 1.0], logits], np.float32), np.array([0, 1]))


class Twice(GPT):
    """A decoder with a forward of its own."""

    def forward(self, tokens: Any, *, key: Any = None) -> Any:
        logits, cache = super().forward(tokens, key=key)
        return 2 * logits, cache


CONFIG = GPTConfig(11, block_size=8, n_layer=1, n_head=1, n_embd=8)


@given(
    kind=st.sampled_from([GPT, Twice]),
    seed=st.integers(0, 999),
    scored=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    at_once=st.integers(1, 60),
)
def test_the_last_targets_of_windows_are_scored_in_parts(kind: Any, seed: int, scored: list[int], at_once: int) -> None:
    model = kind(CONFIG, seed=seed)
    randomize(model, seed)
    tokens = np.random.default_rng(seed).integers(0, 11, (len(scored), 7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOGITS_AT_ONCE", at_once)
        parts = predict(model, tokens, scored, "cpu")
    M, size = sum(scored), max(1, at_once // 11)
    assert [len(part.rank) for part in parts] == [min(size, M - begin) for begin in range(0, M, size)]
    logits, _ = model.forward(tokens[:, :-1])
    expected = [predictions(row[-n:], targets[-n:]) for row, targets, n in zip(logits, tokens, scored, strict=True)]
    for found, wanted in zip(zip(*parts, strict=True), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(np.concatenate(found), np.concatenate(wanted), rtol=1e-4, atol=1e-5)
