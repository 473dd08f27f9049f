"""The automaton of phrases, against texts that are searched for them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.generation.search import phrases
from minitrain.generation.search.phrases import Phrases
from tests.helpers.decoding.plain_decoding import contains

V = 4  # the phrases have tokens 0, 1 and 3
TOKENS = st.sampled_from([0, 1, 3])
PHRASES = st.lists(TOKENS, min_size=1, max_size=3)
CONSTRAINTS = st.lists(TOKENS | PHRASES | st.lists(PHRASES, min_size=1, max_size=2), min_size=1, max_size=3)


def alternatives(constraint: Any) -> list[list[int]]:
    if isinstance(constraint, int):
        return [[constraint]]
    return [constraint] if isinstance(constraint[0], int) else constraint


def least(text: tuple[int, ...], wanted: list[list[list[int]]], most: int) -> int:
    """How many more tokens meet all constraints, tried out."""
    for n in range(most):
        for more in itertools.product(range(V), repeat=n):
            if all(contains((*text, *more), constraint) for constraint in wanted):
                return n
    return most


def check(constraints: list[Any], text: list[int], most: int = 5) -> None:
    wanted, automaton, state = [alternatives(constraint) for constraint in constraints], Phrases(constraints), 0
    assert automaton.tokens == sorted({token for phrases in wanted for phrase in phrases for token in phrase})
    assert automaton.needed.dtype == np.int32
    for end in range(len(text) + 1):
        told = min(most, int(automaton.needed[state]))
        assert told == least(tuple(text[:end]), wanted, most)
        after = automaton.needed_after(state, V)
        assert after.dtype == np.int32
        assert after.tolist() == [automaton.needed[automaton.step(state, token)] for token in range(V)]
        if end < len(text):
            state = automaton.step(state, text[end])


STORIES: list[tuple[list[Any], list[int]]] = [
    ([0], [2, 0, 1]),
    ([[0, 1], 3], [0, 2, 0, 1, 3]),
    ([[0, 0, 1], [0, 1, 0]], [0, 0, 0, 1, 0]),
    ([[1, 1], [1]], [1, 1]),
    ([[[0, 1, 3], [1]], 3], [0, 1, 3]),
    ([[[3, 3], [0, 1]], [1, 0]], [3, 0, 1, 0]),
    ([[0, 1, 0, 3], [1, 0]], [0, 1, 0, 1, 0, 3]),
    ([np.int64(3), (np.int64(0), np.int64(1))], [3, 0, 0, 1]),
]


@pytest.mark.parametrize(("constraints", "text"), STORIES)
def test_some_texts(constraints: list[Any], text: list[int]) -> None:
    """Phrases that overlap, begin alike, and contain each other."""
    plain = [
        int(c) if isinstance(c, np.integer) else [int(t) for t in c] if isinstance(c, tuple) else c for c in constraints
    ]
    check(plain, text)
    assert np.array_equal(Phrases(constraints).needed, Phrases(plain).needed)


@given(constraints=CONSTRAINTS, text=st.lists(st.integers(0, V - 1), max_size=4))
def test_how_many_tokens_are_needed(constraints: list[Any], text: list[int]) -> None:
    """At least, after any text and any next token."""
    check(constraints, text, 3)


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        ([], r"constraint \[\] is not a token, a phrase or a list of phrases"),
        ([[1], []], "is not a token"),
        (-1, "constraint -1 is not a token"),
        ([1, -1], "is not a token"),
        ([0.5], "is not a token|float"),
        ([1, 0.5], "is not a token"),
        ([[1, "a"]], "is not a token"),
        ("word", "constraint 'word' is a text: a tokenizer turns it into integers"),
    ],
)
def test_what_is_no_constraint(constraint: Any, says: str) -> None:
    """The message shows it."""
    with pytest.raises((ConfigError, TypeError), match=says):
        Phrases([0, constraint])


def test_too_many_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are allowed, and one more."""
    two: list[Any] = [[0, 1], [2, 3]]
    states = len(Phrases(two).needed)
    monkeypatch.setattr(phrases, "MOST_STATES", states)
    Phrases(two)
    monkeypatch.setattr(phrases, "MOST_STATES", states - 1)
    with pytest.raises(ConfigError, match=f"the 2 constraints have more than {states - 1} states together"):
        Phrases(two)


@pytest.mark.parametrize(("constraints", "states"), [([0], 3), ([[0, 1]], 5), ([0, 1], 8), ([[[0], [1]]], 4)])
def test_each_state_is_there_once(constraints: list[Any], states: int) -> None:
    """A node of the trie with the constraints that are met, if a text can lead there."""
    assert len(Phrases(constraints).needed) == states
