"""A continuation's likelihood is that of its tokens, one by one, after the context."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DataError, ShapeError, TokenError
from minitrain.evaluation import ContinuationScorer
from minitrain.generation import UncachedSession, session_for
from minitrain.generation.choosing import log_probabilities
from tests.helpers.decoders import VOCABULARY, decoders
from tests.helpers.decoding.tiny_language_models import TableModel

TOKENS = st.integers(0, 10)


def plain(model: Any, context: list[int], continuation: list[int]) -> tuple[float, int, bool]:
    """From one forward on all that the model sees at once."""
    if not continuation:
        return 0.0, 0, True
    seen = (context + continuation)[:-1][-model.config.block_size :]
    logits = model.forward(np.array([seen]))[0][0, -len(continuation) :]
    nats = [log_probabilities(row)[token] for row, token in zip(logits, continuation, strict=True)]
    return sum(nats), len(continuation), logits.argmax(axis=1).tolist() == continuation


@given(
    asked=st.lists(
        st.tuples(
            st.lists(TOKENS, min_size=1, max_size=14),
            st.lists(st.lists(TOKENS, max_size=8), min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=4,
    ),
    slots=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_each_continuation_has_its_own_likelihood(asked: Any, slots: int, seed: int) -> None:
    """Whatever ran before it or runs beside it; contexts that are too long lose their first tokens."""
    model = TableModel(11, 10, seed)
    scorer = ContinuationScorer(UncachedSession(model, slots))
    for context, continuations in asked:
        found = scorer.score(np.array(context), [np.array(c, np.int32) for c in continuations])
        for one, continuation in zip(found, continuations, strict=True):
            nats, tokens, greedy = plain(model, context, continuation)
            assert one.nats == pytest.approx(nats, rel=1e-5)
            assert (one.tokens, one.greedy) == (tokens, greedy)
            assert (type(one.nats), type(one.tokens), type(one.greedy)) == (float, int, bool)


@given(model=decoders((24,)), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=10)
def test_sessions_that_keep_keys_give_the_same(model: Any, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    scorer = ContinuationScorer(session_for(model, data.draw(st.integers(2, 4))))
    examples = rng.integers(0, VOCABULARY, 6).tolist()
    for length in data.draw(st.lists(st.integers(1, 25), min_size=1, max_size=3)):
        context = examples + rng.integers(0, VOCABULARY, length).tolist()
        continuations = [rng.integers(0, VOCABULARY, n).tolist() for n in rng.integers(1, 9, 3)]
        found = scorer.score(np.array(context), [np.array(c) for c in continuations])
        for one, continuation in zip(found, continuations, strict=True):
            nats, tokens, _ = plain(model, context, continuation)
            assert one.nats == pytest.approx(nats, rel=1e-4, abs=1e-3)
            assert one.tokens == tokens


class CountingSession(UncachedSession):
    """Counts the tokens that it is given, and how often."""

    given = calls = 0

    def extend(self, tokens: Any, *, every: bool = False) -> Any:
        self.given += sum(len(new) for new in tokens.values())
        self.calls += 1
        return super().extend(tokens, every=every)


def test_a_context_is_computed_once() -> None:
    session = CountingSession(TableModel(11, 64), 3)
    scorer = ContinuationScorer(session)
    context = np.arange(50) % 11
    scorer.score(context, [np.array([i, i + 1]) for i in range(8)])
    assert session.given == 50 + 8, "the last token of a continuation predicts nothing"
    assert session.calls == 1 + 4, "two continuations run at once"
    assert [session.length(slot) for slot in range(3)] == [50, 0, 0]
    scorer.score(np.concatenate([context[:45], [7, 7]]), [np.array([1])])
    assert session.given == 58 + 2, "and what contexts share is not computed again"


def test_after_a_refusal_the_scorer_goes_on() -> None:
    model = TableModel(11, 16)
    session = CountingSession(model, 3)
    scorer = ContinuationScorer(session)
    scorer.score(np.arange(5), [np.array([1])])
    with pytest.raises(TokenError):
        scorer.score(np.array([0, 1, 99]), [np.array([1])])
    session.given = 0
    scorer.score(np.array([0, 1, 2, 3]), [np.array([1])])
    assert session.given == 2, "what went before the refused token is still there"
    with pytest.raises(TokenError):
        scorer.score(np.array([0, 1, 7]), [np.array([3, 1]), np.array([99, 1])])
    assert [session.length(slot) for slot in range(3)] == [3, 0, 0]
    (found,) = scorer.score(np.array([0, 1, 7, 4]), [np.array([3, 1])])
    assert found.nats == pytest.approx(plain(model, [0, 1, 7, 4], [3, 1])[0], rel=1e-5)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="must be 2 or more"):
        ContinuationScorer(UncachedSession(TableModel(11, 8), 1))
    scorer = ContinuationScorer(UncachedSession(TableModel(11, 8), 2))
    with pytest.raises(ShapeError, match="the context is empty"):
        scorer.score(np.array([], np.int32), [np.array([1])])
    with pytest.raises(DataError, match="block_size is 8"):
        scorer.score(np.array([1]), [np.arange(9)])
    assert scorer.score(np.array([1]), [np.arange(8)])[0].tokens == 8


def test_slots_are_given_back() -> None:
    session = UncachedSession(TableModel(11, 8), 3)
    session.extend({2: np.array([1])})
    scorer = ContinuationScorer(session)
    scorer.score(np.array([1, 2]), [np.array([3, 4])])
    scorer.free()
    assert [session.length(slot) for slot in range(3)] == [0, 0, 0]
    assert scorer.score(np.array([1, 2]), [np.array([3, 4])])[0].tokens == 2
