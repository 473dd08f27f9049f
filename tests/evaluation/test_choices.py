"""A model's answers: the choice with the greatest log-probability, in sum, per token or per byte."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, train_bpe_tokenizer
from minitrain.errors import DataError
from minitrain.evaluation import (
    NORMALIZATIONS,
    ChoiceScore,
    ContinuationScorer,
    Likelihood,
    Question,
    choice_likelihoods,
    choose,
    encode_pair,
    score_choices,
)
from minitrain.generation import UncachedSession
from tests.evaluation.test_likelihood import plain
from tests.helpers.decoding.tiny_language_models import TableModel

TEXT = "hello world, hello word; worldly words are held whole\n" * 4
BPE = train_bpe_tokenizer([TEXT], vocab_size=300)
WORDS = st.text(alphabet="helo wrdé", min_size=1, max_size=8)
QUESTIONS = st.builds(
    lambda context, choices, answer: Question(context, tuple(choices), answer % len(choices)),
    st.text(alphabet="helo wrd", max_size=12),
    st.lists(WORDS, min_size=2, max_size=5),
    st.integers(0, 4),
)


@given(question=QUESTIONS, seed=st.integers(0, 99), slots=st.integers(2, 4))
def test_likelihoods_are_those_of_each_choice_alone(question: Question, seed: int, slots: int) -> None:
    model = TableModel(300, 16, seed)
    found = choice_likelihoods(ContinuationScorer(UncachedSession(model, slots)), BPE, question)
    for one, choice in zip(found, question.choices, strict=True):
        pair = encode_pair(BPE, question.context, choice)
        nats, tokens, greedy = plain(model, pair.context.tolist(), pair.continuation.tolist())
        assert one.nats == pytest.approx(nats, rel=1e-5)
        assert (one.tokens, one.greedy) == (tokens, greedy)


@given(QUESTIONS, st.lists(st.tuples(st.floats(-50, 0), st.integers(1, 9)), min_size=5, max_size=5))
def test_the_choice_is_the_greatest_of_what_is_compared(question: Question, drawn: list[tuple[float, int]]) -> None:
    found = [Likelihood(nats, tokens, False) for nats, tokens in drawn[: len(question.choices)]]
    lengths = {
        "sum": [1] * len(found),
        "token": [one.tokens for one in found],
        "byte": [len(choice.encode()) for choice in question.choices],
    }
    assert set(lengths) == set(NORMALIZATIONS)
    score = ChoiceScore()
    score.add(question, found)
    for name, each in lengths.items():
        compared = np.array([one.nats / length for one, length in zip(found, each, strict=True)])
        assert choose(question, found, name) == compared.argmax(), "of equal ones the first"
        assert score.accuracy(name) == (compared.argmax() == question.answer)


def test_lengths_are_told_apart() -> None:
    question = Question("a", ("bb", "ééé"), 0)
    found = [Likelihood(-2.0, 1, False), Likelihood(-3.0, 3, False)]
    assert [choose(question, found, name) for name in ("sum", "token", "byte")] == [0, 1, 1]


def test_scores_add_up() -> None:
    model, questions = TableModel(256, 16, 5), [
        Question("hello", (" world", " word"), 0),
        Question("hello", (" a", " b", " c"), 2),
        Question("", ("x", "yy", "zzz", "w"), 1),
        Question("hel", ("lo", "d"), 0),
    ]  # fmt: skip
    session = UncachedSession(model, 3)
    score = score_choices(session, ByteTokenizer(), iter(questions))
    assert not any(session.length(slot) for slot in range(3))
    assert score.questions == 4
    assert score.chance == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 1 / 2) / 4)
    for name in NORMALIZATIONS:
        answers = []
        for question in questions:
            scorer = ContinuationScorer(UncachedSession(model, 2))
            answers.append(choose(question, choice_likelihoods(scorer, ByteTokenizer(), question), name))
        right = sum(a == q.answer for a, q in zip(answers, questions, strict=True))
        assert score.accuracy(name) == right / 4
        assert score.standard_error(name) == pytest.approx(math.sqrt(right / 4 * (1 - right / 4) / 4))


def test_mistakes_are_named() -> None:
    session = UncachedSession(TableModel(256, 4), 2)
    with pytest.raises(DataError, match="no questions"):
        score_choices(session, ByteTokenizer(), [])
    with pytest.raises(DataError, match="5 tokens"):
        score_choices(session, ByteTokenizer(), [Question("a", ("bcdef", "b"), 0)])
