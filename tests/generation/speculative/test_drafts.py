"""A smaller model as a draft: what it draws, with which numbers, and where a draft ends."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest

from minitrain.errors import ConfigError
from minitrain.generation import SamplingParams
from minitrain.generation.context import context_start
from minitrain.generation.search.distribution import draw, normalized, weights
from minitrain.generation.speculative.drafts import DraftRequest, ModelDrafter
from tests.helpers.decoding.plain_decoding import next_logits
from tests.helpers.decoding.tiny_language_models import CountingSession, TableModel

V, LONGEST = 5, 8


def number_of(row: int) -> Any:
    """A row's random numbers: any, but always the same."""
    return lambda purpose, position: zlib.crc32(f"{row}{purpose}{position}".encode()) / 2**32


@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize("stops", [(), (0, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_drafted(guess: bool, stops: tuple[int, ...], seed: int) -> None:
    """Up to a stop token, to what was asked for, or to where the draft's context starts again, and one more."""
    model, params = TableModel(V, LONGEST, seed), SamplingParams(temperature=1.5, top_k=4)
    session = CountingSession(model, 3)
    drafter = ModelDrafter(session, params, stops=frozenset(stops), guess=guess)
    assert drafter.rows == 3
    rng = np.random.default_rng(seed)
    texts = {row: rng.integers(0, V, n).tolist() for row, n in ((7, 2), (1, 6), (4, 11))}
    for _ in range(4):
        most = {row: int(rng.integers(1, 9)) for row in texts}
        requests = {row: DraftRequest(np.array(texts[row], np.int32), most[row], number_of(row)) for row in texts}
        session.passes = 0
        found = drafter.propose(requests)
        assert found.keys() == texts.keys()
        drafted = []
        for row, text in texts.items():
            tokens: list[int] = []
            rows = []
            limit = min(most[row], context_start(len(text), LONGEST) + LONGEST - len(text) + 1)
            while len(tokens) < limit and not (tokens and tokens[-1] in stops):
                weight = weights(next_logits(model, text + tokens)[None], params)[0]
                rows.append(normalized(weight))
                number = number_of(row)("token" if guess else "draft", len(text) + len(tokens))
                tokens.append(draw(weight, number))
            assert found[row].tokens.tolist() == tokens
            assert found[row].tokens.dtype == np.int32
            probabilities = found[row].probabilities
            assert (probabilities is None) == guess
            assert guess or np.array_equal(probabilities, rows)
            drafted.append(len(tokens))
            texts[row] = text + tokens[:1] + [int(rng.integers(V))]
        assert session.passes == max(drafted)  # shared by the rows
    drafter.release(1)
    drafter.release(1)  # once more: nothing
    drafter.release(5)
    assert len(session.used()) == 2
    requests = {row: DraftRequest(np.array([0], np.int32), 1, number_of(row)) for row in (8, 7)}
    drafter.propose(requests)
    for row in (8, 7, 4):
        drafter.release(row)
    assert session.used() == []


def test_one_free_slot_is_enough_and_none_is_not() -> None:
    """The message says how many are free."""
    session = CountingSession(TableModel(V, LONGEST), 2)
    session.extend({0: np.array([1], np.int32)})
    assert ModelDrafter(session, SamplingParams(), stops=frozenset(), guess=True).rows == 1
    session.extend({1: np.array([1], np.int32)})
    with pytest.raises(ConfigError, match="0 of the session's 2 slots are free, but 1 are needed"):
        ModelDrafter(session, SamplingParams(), stops=frozenset(), guess=True)
