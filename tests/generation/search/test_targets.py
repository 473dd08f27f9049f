"""Beam search over inputs: each search is that of its definition, whatever is beside it; padding is never written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, NonFiniteError, ShapeError
from minitrain.generation import beam_search_targets
from minitrain.models.common.continuation import Continuation, write_greedily
from tests.helpers.decoding.plain_decoding import plain_beam_search
from tests.helpers.decoding.tiny_language_models import TableModel

V, LONGEST, START, END, PAD = 6, 8, 1, 2, 0


class Texts:
    """What a model keeps of some texts: the tokens themselves. Stands in for keys and values."""

    def __init__(self, inputs: Any) -> None:
        self.tokens = inputs[:, None]  # (N, 1 + length)

    def select(self, rows: Any) -> None:
        assert np.array_equal(self.tokens[:, 0], self.tokens[rows, 0]), "a text goes on with another input"
        self.tokens = self.tokens[rows]


class TableWriter:
    """Writes by a table about an input, which is a token. Padding looks the likeliest, and is never right."""

    def __init__(self, seed: int, **options: Any) -> None:
        self.plain = TableModel(V, 64, seed, banned=(PAD,), **options)
        self.config = SimpleNamespace(pad_idx=PAD, block_size=LONGEST)
        self.passes = 0

    def begin(self, inputs: Any, /, *, copies: int = 1) -> Continuation:
        kept = Texts(inputs.repeat(copies))

        def decode(tokens: Any) -> Any:
            assert tokens.dtype == np.int32
            kept.tokens = np.concatenate([kept.tokens, tokens], axis=1)
            logits = self.plain.forward(kept.tokens)[0][:, -1:]
            logits[..., PAD] = 100
            self.passes += 1
            return logits

        return Continuation(decode, [(kept, None)], len(kept.tokens))  # type: ignore[list-item]


SEARCHES = st.fixed_dictionaries(
    {
        "num_beams": st.integers(1, 5),
        "max_new_tokens": st.integers(1, LONGEST),
        "length_penalty": st.sampled_from([0.0, 1.0, -0.5, 2.0]),
        "early_stopping": st.sampled_from([True, False, "never"]),
    }
)


@given(
    SEARCHES, st.lists(st.integers(0, V - 1), min_size=1, max_size=5), st.integers(0, 50), st.sampled_from([None, 1])
)
def test_every_search_is_that_of_the_definition(
    search: dict[str, Any], inputs: list[int], seed: int, levels: Any
) -> None:
    """With equal scores, too (``levels``)."""
    beams = search["num_beams"]
    writer = TableWriter(seed, levels=levels)
    found = beam_search_targets(writer, np.array(inputs), start=START, end=END, **search, num_return_sequences=beams)
    plain: dict[str, Any] = {"beams": beams, "new": search["max_new_tokens"], "early": search["early_stopping"]}
    for given_token, row in zip(inputs, found, strict=True):
        expected = plain_beam_search(
            writer.plain, [given_token, START], **plain, length_penalty=search["length_penalty"], stops=(END,)
        ).ended
        assert [tuple(one.tokens.tolist()) for one in row] == [one.tokens for one in expected]
        assert [one.score for one in row] == pytest.approx([one.score for one in expected])
        assert [one.stopped for one in row] == [one.tokens[-1] == END for one in expected]
    assert writer.passes <= search["max_new_tokens"]


def test_the_best_comes_first_and_no_pass_too_many() -> None:
    """One result unless more are asked for; the model runs until the last search has ended."""
    writer = TableWriter(3)
    every = beam_search_targets(writer, np.arange(V), start=START, end=END, max_new_tokens=7, num_return_sequences=4)
    passes, writer.passes = writer.passes, 0
    found = beam_search_targets(writer, np.arange(V), start=START, end=END, max_new_tokens=7)
    assert writer.passes == passes
    assert [len(row) for row in found] == [1] * V
    assert [len(row) for row in every] == [4] * V
    assert [row[0].tokens.tolist() for row in found] == [row[0].tokens.tolist() for row in every]
    alone = []
    for token in range(V):
        writer.passes = 0
        alone += beam_search_targets(writer, np.array([token]), start=START, end=END, max_new_tokens=7)
        assert writer.passes <= passes
    assert [row[0].tokens.tolist() for row in alone] == [row[0].tokens.tolist() for row in found]


def test_one_beam_is_greedy_choice() -> None:
    writer = TableWriter(5)
    inputs = np.arange(V)
    found = beam_search_targets(writer, inputs, start=START, end=END, max_new_tokens=6, num_beams=1)
    first = np.full(V, START, np.int32)
    greedy = write_greedily(writer.begin(inputs), first, end=END, pad=PAD, most=6)
    assert [row[0].tokens.tolist() for row in found] == [row[row != PAD].tolist() for row in greedy[:, 1:]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": LONGEST + 1}, "max_new_tokens=9 must be at most the model's block_size, 8"),
        ({"max_new_tokens": 0}, "max_new_tokens=0 must be 1 or more"),
        ({"num_beams": 0}, "num_beams=0 must be 1 or more"),
        ({"num_return_sequences": 3}, "num_return_sequences=3 must be at most num_beams=2"),
        ({"length_penalty": 51.0}, "length_penalty=51.0 must be"),
        ({"early_stopping": "often"}, "early_stopping='often' must be"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"start": START, "end": END, "max_new_tokens": LONGEST, "num_beams": 2}
    beam_search_targets(TableWriter(0), np.array([3]), **settings)
    with pytest.raises(ConfigError, match=message):
        beam_search_targets(TableWriter(0), np.array([3]), **settings | changes)


def test_no_input_and_no_number() -> None:
    """Nothing to write about, and a model that returns NaN."""
    with pytest.raises(ShapeError, match=r"there is no input: the inputs have the shape \(0,\)"):
        beam_search_targets(TableWriter(0), np.empty(0, np.int32), start=START, end=END, max_new_tokens=2)
    writer = TableWriter(0)
    writer.plain.table[:, 3] = np.nan
    with pytest.raises(NonFiniteError):
        beam_search_targets(writer, np.array([3]), start=START, end=END, max_new_tokens=2)
