"""The simplest session, and what all sessions refuse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.generation.sessions.session import UncachedSession, check_cut, check_extension, check_slots
from tests.helpers.decoding.tiny_language_models import TableModel

SLOTS, V, LONGEST = 3, 7, 9
STEPS = st.lists(
    st.tuples(st.just("extend"), st.lists(st.integers(0, 5), min_size=SLOTS, max_size=SLOTS), st.booleans())
    | st.tuples(st.just("cut"), st.integers(0, SLOTS - 1), st.floats(0, 1))
    | st.tuples(st.just("copy"), st.integers(0, SLOTS - 1), st.integers(0, SLOTS - 1)),
    max_size=10,
)


def run_steps(steps: list[Any], seed: int) -> None:
    """Tokens, cuts and copies."""
    rng, model = np.random.default_rng(seed), TableModel(V, LONGEST, seed)
    session, texts = UncachedSession(model, SLOTS), [np.empty(0, np.int32)] * SLOTS
    for kind, what, more in steps:
        if kind == "cut":
            texts[what] = texts[what][: round(more * len(texts[what]))]
            session.cut(what, len(texts[what]))
        elif kind == "copy":
            session.copy(what, more)
            texts[more] = texts[what]
        else:
            new = {}
            for slot in rng.permutation(SLOTS).tolist():
                if n := min(what[slot], LONGEST - len(texts[slot])):
                    new[slot] = rng.integers(0, V, n).astype(np.int32)
                    texts[slot] = np.concatenate([texts[slot], new[slot]])
            if new:
                logits = session.extend(new, every=more)
                expected = [model.forward(texts[slot][None])[0][0] for slot in new]
                rows = [row[-len(new[slot]) if more else -1 :] for slot, row in zip(new, expected, strict=True)]
                assert np.array_equal(logits, np.concatenate(rows))
        assert [session.length(slot) for slot in range(SLOTS)] == [len(text) for text in texts]


def test_one_long_story() -> None:
    """Everything that can happen to a sequence."""
    steps = [
        ("extend", [3, 1, 2], True),
        ("copy", 0, 1),
        ("extend", [2, 0, 1], False),
        ("cut", 0, 0.5),
        ("copy", 1, 1),
        ("cut", 2, 0.0),
        ("extend", [1, 2, 3], False),
    ]
    for seed in range(3):
        run_steps(steps, seed)


@given(steps=STEPS, seed=st.integers(0, 1000))
def test_logits_are_the_model_s(steps: list[Any], seed: int) -> None:
    """After each new token or after the last one of each slot, in the order of the slots as they are given."""
    run_steps(steps, seed)


def test_a_model_that_fails_adds_nothing() -> None:
    """To no slot."""
    session = UncachedSession(TableModel(V, LONGEST), 2)
    assert (session.slots, session.longest, session.device) == (2, LONGEST, "cpu")
    with pytest.raises(TokenError):
        session.extend({0: np.array([1]), 1: np.array([V])})
    assert session.length(0) == session.length(1) == 0
    with pytest.raises(ShapeError, match="no sequence"):
        session.extend({})
    with pytest.raises(ShapeError, match="slot 0 has 0 tokens, which cannot be cut to 1"):
        session.cut(0, 1)


def test_slots() -> None:
    """One or more."""
    assert [check_slots(n) for n in (1, 5)] == [1, 5]
    for n in (0, -1):
        with pytest.raises(ConfigError, match=f"slots = {n} must be 1 or more"):
            check_slots(n)


def session_with(lengths: list[int]) -> Any:
    return SimpleNamespace(slots=len(lengths), longest=LONGEST, length=lambda slot: lengths[slot])


ONE = np.array([0])


@pytest.mark.parametrize(
    ("tokens", "error", "says"),
    [
        ({}, ShapeError, "there is no sequence to extend"),
        ({-1: ONE}, ShapeError, "there is no slot -1; slots run from 0 to 2"),
        ({3: ONE}, ShapeError, "there is no slot 3; slots run from 0 to 2"),
        ({0: ONE, 1: ONE[:0]}, ShapeError, r"slot 1 gets int64 \(0,\), expected \(n,\) integers, at least one"),
        ({1: ONE[None]}, ShapeError, r"slot 1 gets int64 \(1, 1\)"),
        ({1: np.array(3)}, ShapeError, r"slot 1 gets int64 \(\)"),
        ({1: np.zeros(1)}, ShapeError, r"slot 1 gets float64 \(1,\)"),
        (
            {1: np.zeros(7, int)},
            ShapeError,
            "slot 1 has 3 tokens and would get 7 more, but the model's block_size is 9",
        ),
        ({0: np.array([0, -1, V])}, TokenError, f"token -1 of slot 0 is not in the vocabulary of {V} tokens"),
        ({0: np.array([0, -1])}, TokenError, "token -1 of slot 0"),
        ({0: np.array([0, -2, -1])}, TokenError, "token -2 of slot 0"),
        ({0: np.array([V, V + 1, 0])}, TokenError, f"token {V + 1} of slot 0"),
        ({0: np.array([V, 0], np.uint8)}, TokenError, f"token {V} of slot 0"),
    ],
)
def test_extensions_that_are_refused(tokens: Any, error: type[Exception], says: str) -> None:
    """The message names the slot and the limit."""
    with pytest.raises(error, match=says):
        check_extension(session_with([0, 3, 0]), tokens, V)


def test_extensions_up_to_the_limits() -> None:
    """Whole blocks, the first and the last token, and any token if the vocabulary is not known."""
    check_extension(session_with([0, 3]), {0: np.arange(9) % V, 1: np.arange(6, dtype=np.uint8)}, V)
    check_extension(session_with([0]), {0: np.array([-5, 10**6])})


def test_cuts() -> None:
    """Down to any shorter length."""
    for length in (0, 2, 3):
        check_cut(session_with([0, 3]), 1, length)
    for length in (-1, 4):
        with pytest.raises(ShapeError, match=f"cut: slot 1 has 3 tokens, which cannot be cut to {length}"):
            check_cut(session_with([0, 3]), 1, length)
