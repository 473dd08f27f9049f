"""The context of texts that follow each other in one slot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.generation.context import context_start
from minitrain.generation.speculative.slot_context import SlotContext
from tests.helpers.decoding.tiny_language_models import CountingSession, TableModel

LONGEST = 6
TEXTS = st.lists(st.integers(0, 1), min_size=1, max_size=14)


def run(texts: list[tuple[list[int], list[int]]]) -> None:
    """Move to each text, and add guesses as far as there is room."""
    session = CountingSession(TableModel(3, LONGEST), 3)
    context, old = SlotContext(session, 1), [2]
    for text, guesses in texts:
        start, old_start = context_start(len(text), LONGEST), context_start(len(old), LONGEST)
        shared = start
        for n in range(start, min(len(text) - 1, old_start + session.length(1)) + 1):
            if start == old_start and text[:n] == old[:n]:
                shared = n
        lacking = context.move(np.array(text, np.int32))
        assert lacking.tolist() == text[shared:]
        assert session.length(1) == shared - start
        session.extend({1: lacking})
        assert session._sequences[1].tolist() == text[start:]
        old, room = list(text), context.room(len(text))
        assert room == start + LONGEST - len(text)
        if more := guesses[:room]:
            assert context.add(np.array(more, np.int32)).tolist() == more
            session.extend({1: np.array(more, np.int32)})
            old += more
    assert session.length(0) == 0
    context.release()
    assert session.used() == []


@pytest.mark.parametrize(
    "texts",
    [
        [([0, 1, 0], [1, 1]), ([0, 1, 0, 1, 0], [1])],
        [([0, 1, 0], [1, 1]), ([0, 1, 0, 1, 1], []), ([0, 1, 0, 1, 1, 0], []), ([0, 1, 0, 1, 1, 0, 1], [0])],
        [([0, 1, 0], []), ([1, 1, 0], []), ([1, 1, 0], []), ([1, 1], [])],
        [([0] * 9, [1]), ([0] * 9 + [1], []), ([1] * 10, []), ([0] * 3, [])],
        [([0] * 9, []), ([1] + [0] * 9, []), ([0] * 12, []), ([1] * 12, [])],
    ],
)
def test_some_texts(texts: Any) -> None:
    run(texts)


@given(texts=st.lists(st.tuples(TEXTS, st.lists(st.integers(0, 1), max_size=5)), max_size=6))
def test_any_texts(texts: Any) -> None:
    """What they share stays; the slot holds the context of the last one."""
    run(texts)


def test_a_text_is_copied() -> None:
    """The caller may write to it."""
    session = CountingSession(TableModel(3, LONGEST), 1)
    context, text = SlotContext(session, 0), np.array([0, 1, 0], np.int32)
    session.extend({0: context.move(text)})
    text[:] = 2
    assert context.move(np.array([0, 1, 0, 1], np.int32)).tolist() == [1]
