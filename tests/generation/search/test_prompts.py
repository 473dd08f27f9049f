"""What decoding methods share: prompts of any lengths, stop tokens, and how many slots they take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, ShapeError, TokenError
from minitrain.generation import UncachedSession
from minitrain.generation.search.prompts import (
    AT_ONCE,
    check_new_tokens,
    free_slots,
    read_prompts,
    read_stop_tokens,
    slots_for,
)
from tests.helpers.plain_generation import PlainModel

ROWS = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=4), min_size=1, max_size=4)


@given(rows=ROWS, dtype=st.sampled_from([np.int64, np.uint32]))
def test_prompts_of_any_lengths_and_blocks_of_them(rows: list[list[int]], dtype: Any) -> None:
    for prompts in (rows, [np.array(row, dtype) for row in rows]):
        read = read_prompts(prompts)
        assert [row.tolist() for row in read] == rows
        assert {row.dtype for row in read} == {np.dtype(np.int32)}
    block = [row[:1] for row in rows]
    assert [row.tolist() for row in read_prompts(np.array(block, dtype))] == block


@pytest.mark.parametrize(
    ("prompts", "error", "says"),
    [
        ([], ShapeError, "there is no prompt"),
        (np.zeros((0, 3), int), ShapeError, "there is no prompt"),
        ([[1], []], ShapeError, r"prompt 1 is .* expected integers"),
        ([1, 2], ShapeError, r"prompt 0 is .* expected integers"),
        (np.arange(3), ShapeError, r"prompt 0 is .* expected integers"),
        (np.ma.masked_array([[1, 2]]), ShapeError, "is a masked array"),
        ("ab", ShapeError, "prompt 0 is a text"),
        ([[1], [2, -1]], TokenError, "prompt 1 has the token -1"),
        ([[1 << 31]], TokenError, "prompt 0 has the token 2147483648"),
    ],
)
def test_what_is_no_prompt(prompts: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        read_prompts(prompts)


def test_stop_tokens_are_a_set_of_integers() -> None:
    stops = read_stop_tokens(iter([3, np.int64(0), 3]))
    assert stops == {0, 3}
    assert {type(token) for token in stops} == {int}
    assert read_stop_tokens(()) == frozenset()
    for wrong in (-1, np.int32(-1), True, 1.0, "a", None):
        with pytest.raises(ConfigError, match=r"stop_token_ids has .*; each must be the id of a token, 0 or more"):
            read_stop_tokens([2, wrong])  # type: ignore[list-item]


def test_at_least_one_token_is_asked_for() -> None:
    check_new_tokens(1)
    with pytest.raises(ConfigError, match="max_new_tokens=0 must be 1 or more"):
        check_new_tokens(0)


@given(rows=st.integers(1, 2 * AT_ONCE), each=st.integers(1, 2 * AT_ONCE))
def test_slots_are_for_as_many_prompts_as_fit(rows: int, each: int) -> None:
    """At least for one."""
    fitting = [n for n in range(1, rows + 1) if n == 1 or n * each <= AT_ONCE]
    assert slots_for(rows, each) == each * max(fitting)
    assert slots_for(rows) == slots_for(rows, 1)


@given(taken=st.sets(st.integers(0, 4)), least=st.integers(1, 5))
def test_slots_without_a_sequence_are_free(taken: set[int], least: int) -> None:
    session = UncachedSession(PlainModel(), 5)
    for slot in taken:
        session.extend({slot: np.array([1], np.int32)})
    free = [slot for slot in range(5) if slot not in taken]
    if len(free) >= least:
        assert free_slots(session, least) == free
    else:
        with pytest.raises(ConfigError, match=f"{len(free)} of the session's 5 slots are free, but {least} are needed"):
            free_slots(session, least)
