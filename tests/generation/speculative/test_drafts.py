"""A smaller model as a draft: what it draws, with which numbers, and where a draft ends."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError, DataError, NonFiniteError, TokenError
from minitrain.generation import SamplingParams
from minitrain.generation.choosing import Chooser
from minitrain.generation.context import context_start
from minitrain.generation.search.distribution import draw, normalized
from minitrain.generation.speculative.drafts import DraftRequest, ModelDrafter
from tests.helpers.decoding.plain_decoding import next_logits
from tests.helpers.decoding.tiny_language_models import CountingSession, TableModel

V, LONGEST = 5, 8


def number_of(row: int) -> Any:
    """A row's random numbers: any, but always the same."""
    return lambda purpose, position: zlib.crc32(f"{row}{purpose}{position}".encode()) / 2**32


def request_of(text: list[int], most: int, params: SamplingParams, row: int = 0, prompt: int = 1) -> DraftRequest:
    chooser = Chooser(params)
    weights = lambda logits, text: chooser.weights(logits, text, prompt)  # noqa: E731
    return DraftRequest(np.array(text, np.int32), most, number_of(row), params, weights)


@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize("settings", [{}, {"frequency_penalty": 0.7}, {"temperature": 0}])
@pytest.mark.parametrize("stops", [(), (0, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_drafted(guess: bool, settings: dict[str, Any], stops: tuple[int, ...], seed: int) -> None:
    """Up to a stop token, to what was asked for, or to where the draft's context starts again, and one more."""
    params = SamplingParams(**{"temperature": 1.5, "top_k": 4, "stop_token_ids": stops, **settings})
    model, chooser = TableModel(V, LONGEST, seed), Chooser(params)
    session = CountingSession(model, 3)
    drafter = ModelDrafter(session, guess=guess)
    assert drafter.rows == 3
    rng = np.random.default_rng(seed)
    texts = {row: rng.integers(0, V, n).tolist() for row, n in ((7, 2), (1, 6), (4, 11))}
    for _ in range(4):
        most = {row: int(rng.integers(1, 9)) for row in texts}
        session.passes = 0
        found = drafter.propose({row: request_of(texts[row], most[row], params, row) for row in texts})
        assert found.keys() == texts.keys()
        drafted = []
        for row, text in texts.items():
            tokens: list[int] = []
            rows = []
            limit = min(most[row], context_start(len(text), LONGEST) + LONGEST - len(text) + 1)
            while len(tokens) < limit and not (tokens and tokens[-1] in stops):
                weight = chooser.weights(next_logits(model, text + tokens), np.array(text + tokens, np.int32), 1)
                rows.append(normalized(weight))
                number = number_of(row)("token" if guess else "draft", len(text) + len(tokens))
                tokens.append(draw(weight, number))
            assert found[row].tokens.tolist() == tokens
            assert found[row].tokens.dtype == np.int32
            probabilities = found[row].probabilities
            assert (probabilities is None) == (guess or params.temperature == 0)
            assert probabilities is None or np.array_equal(probabilities, rows)
            drafted.append(len(tokens))
            texts[row] = text + tokens[:1] + [int(rng.integers(V))]
        assert session.passes == max(drafted)  # shared by the rows
    drafter.release(1)
    drafter.release(1)  # once more: nothing
    drafter.release(5)
    assert len(session.used()) == 2
    drafter.propose({row: request_of([0], 1, params, row) for row in (8, 7)})
    for row in (8, 7, 4):
        drafter.release(row)
    assert session.used() == []


def test_a_draft_ends_where_its_settings_raise() -> None:
    """A text that the model that checks it may never write."""

    def no_third(tokens: Any, logits: Any) -> Any:
        if len(tokens) >= 4:
            raise DataError("no token continues this text")
        return logits

    drafter = ModelDrafter(CountingSession(TableModel(V, LONGEST), 2), guess=False)
    params = SamplingParams(processor=no_third)
    found = drafter.propose({0: request_of([1, 2], 5, params), 1: request_of([1, 2, 3, 4], 5, params)})
    assert [len(found[row].tokens) for row in (0, 1)] == [2, 0]
    assert found[1].probabilities is None
    banned = SamplingParams(suppress_tokens=range(V))
    assert len(drafter.propose({0: request_of([1, 2], 5, banned)})[0].tokens) == 0


def test_a_draft_that_is_damaged_or_of_another_vocabulary() -> None:
    drafter = ModelDrafter(CountingSession(TableModel(V, LONGEST), 1), guess=False)
    with pytest.raises(TokenError, match="name token 5, but the vocabulary has 5"):
        drafter.propose({0: request_of([1], 1, SamplingParams(suppress_tokens=[5]))})
    damaged = ModelDrafter(CountingSession(TableModel(V, LONGEST, banned=range(V)), 1), guess=False)
    with pytest.raises(NonFiniteError, match="the highest logit is -inf"):
        damaged.propose({0: request_of([1], 1, SamplingParams())})


def test_one_free_slot_is_enough_and_none_is_not() -> None:
    """The message says how many are free."""
    session = CountingSession(TableModel(V, LONGEST), 2)
    session.extend({0: np.array([1], np.int32)})
    assert ModelDrafter(session, guess=True).rows == 1
    session.extend({1: np.array([1], np.int32)})
    with pytest.raises(ConfigError, match="0 of the session's 2 slots are free, but 1 are needed"):
        ModelDrafter(session, guess=True)
