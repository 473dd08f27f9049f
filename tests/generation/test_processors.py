"""Penalties and bans: against their formulas written out, and what they promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.generation import SamplingParams
from minitrain.generation.processors import (
    add_bias,
    ban,
    force,
    no_repeat_ngrams,
    penalize_frequency,
    penalize_repetition,
)
from tests.helpers.plain_generation import changed_logits

V = 6
ROWS = st.lists(st.floats(-8, 8, width=32) | st.just(-math.inf), min_size=V, max_size=V)
TOKENS = st.lists(st.integers(0, V - 1), min_size=0, max_size=12)


def changed(row: list[float], tokens: list[int], prompt: int, **settings: Any) -> Any:
    return pytest.approx(changed_logits(row, tokens, prompt, SamplingParams(**settings)), rel=1e-6)


@given(row=ROWS, tokens=TOKENS, penalty=st.floats(0.3, 3))
def test_repetition(row: list[float], tokens: list[int], penalty: float) -> None:
    logits = np.array(row, np.float32)
    out = penalize_repetition(logits, np.array(tokens, np.int32), penalty)
    assert out.dtype == np.float32
    assert out.tolist() == changed(row, tokens, 0, repetition_penalty=penalty)
    assert logits.tolist() == row, "the argument stays"


@given(row=ROWS, tokens=TOKENS, penalty=st.floats(1.01, 3))
def test_repetition_is_never_likelier(row: list[float], tokens: list[int], penalty: float) -> None:
    out = penalize_repetition(np.array(row), np.array(tokens, np.int32), penalty)
    assert all(
        new <= old if token in tokens else new == old for token, (new, old) in enumerate(zip(out, row, strict=True))
    )


@given(row=ROWS, tokens=TOKENS, frequency=st.floats(-2, 2), presence=st.floats(-2, 2))
def test_frequency_and_presence(row: list[float], tokens: list[int], frequency: float, presence: float) -> None:
    logits = np.array(row, np.float32)
    out = penalize_frequency(logits, np.array(tokens, np.int32), frequency, presence)
    assert out.dtype == np.float32
    expected = changed_logits(row, tokens, 0, SamplingParams(frequency_penalty=frequency, presence_penalty=presence))
    assert out.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-5)
    assert logits.tolist() == row


@given(row=ROWS, bias=st.dictionaries(st.integers(0, V - 1), st.floats(-9, 9) | st.just(-math.inf), min_size=1))
def test_bias(row: list[float], bias: dict[int, float]) -> None:
    logits = np.array(row, np.float64)
    out = add_bias(logits, np.array(list(bias)), np.array(list(bias.values())))
    assert out.tolist() == changed(row, [], 0, logit_bias=bias)
    assert logits.tolist() == row


@given(row=ROWS, ids=st.lists(st.integers(0, V - 1)))
def test_banned_tokens_are_impossible_and_others_stay(row: list[float], ids: list[int]) -> None:
    logits = np.array(row)
    out = ban(logits, np.array(ids, np.int64))
    assert out.tolist() == [-math.inf if token in ids else x for token, x in enumerate(row)]
    assert logits.tolist() == row


@given(row=ROWS, token=st.integers(0, V - 1))
def test_a_forced_token_is_the_only_one(row: list[float], token: int) -> None:
    logits = np.array(row, np.float32)
    out = force(logits, token)
    assert out.tolist() == [0.0 if i == token else -math.inf for i in range(V)]
    assert out.dtype == np.float32
    assert logits.tolist() == row


def ngrams(tokens: list[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]


@given(row=ROWS, tokens=TOKENS, size=st.integers(1, 5))
def test_exactly_the_repeated_ngrams_are_banned(row: list[float], tokens: list[int], size: int) -> None:
    logits = np.array(row)
    out = no_repeat_ngrams(logits, np.array(tokens, np.int32), size)
    before = set(ngrams(tokens, size))
    for token in range(V):
        repeats = ngrams([*tokens, token], size)[-1:] and ngrams([*tokens, token], size)[-1] in before
        assert out[token] == (-math.inf if repeats else row[token])
    assert logits.tolist() == row


@given(size=st.integers(1, 3), rows=st.integers(0, 10**6))
def test_no_ngram_comes_twice(size: int, rows: int) -> None:
    """The most likely token each time, until none is left."""
    rng = np.random.default_rng(rows)
    tokens: list[int] = []
    for _ in range(3**size + size - 1):
        logits = no_repeat_ngrams(rng.normal(size=3), np.array(tokens, np.int32), size)
        if logits.max() == -math.inf:
            break
        tokens.append(int(logits.argmax()))
    runs = ngrams(tokens, size)
    assert len(runs) == len(set(runs)) >= 1
