"""One row: what it keeps of a draft, and how much it drafts next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.errors import ShapeError
from minitrain.generation.speculative.acceptance import Proposal
from minitrain.generation.speculative.row import Row, Speculated
from minitrain.random import Key, uniform_number

V = 4


def sure(*tokens: int) -> Any:
    """Distributions with one token each."""
    return 3.0 * np.eye(V)[list(tokens)]


def row_of(draft_tokens: int = 3, most: int | None = 9, key: Key | None = None) -> Row:
    return Row(np.array([1, 2], np.int32), None, key, draft_tokens, most)  # type: ignore[arg-type]


def guess(*tokens: int) -> Proposal:
    return Proposal(np.array(tokens, np.int32), None)


@pytest.mark.parametrize(
    ("drafted", "target", "stops", "new", "accepted", "next_draft", "stopped"),
    [
        ([3, 0], [3, 0, 1], (), [3, 0, 1], 2, 5, False),  # whole
        ([3, 0], [3, 2, 1], (), [3, 2], 1, 2, False),
        ([3, 0], [2, 0, 1], (), [2], 0, 1, False),
        ([], [2], (), [2], 0, 3, False),  # nothing drafted
        ([3, 0], [3, 0, 1], (0,), [3, 0], 2, 5, True),
        ([3, 0], [3, 0, 1], (3, 1), [3], 2, 5, True),
        ([3, 0], [3, 0, 1], (1,), [3, 0, 1], 2, 5, True),
    ],
)
def test_what_is_kept_of_guesses(
    drafted: list[int], target: list[int], stops: Any, new: list[int], accepted: int, next_draft: int, stopped: bool
) -> None:
    """All until the first wrong one, which the target replaces; nothing after a stop token."""
    row = row_of()
    assert (row.new, row.stopped, row.draft_tokens) == (0, False, 3)
    row.keep(guess(*drafted), sure(*target), frozenset(stops))
    assert row.text.tolist() == [1, 2, *new]
    assert row.text.dtype == np.int32
    assert (row.new, row.stopped, row.draft_tokens) == (len(new), stopped, next_draft)
    result = row.result(10)
    assert result.tokens.tolist() == new
    assert (result.drafted, result.accepted, result.passes) == (len(drafted), accepted, 1)
    assert row.result(1).tokens.tolist() == new[:1]


def test_counts_add_up() -> None:
    """Over all drafts of a row; the length of drafts has a limit, or stays."""
    row, fixed = row_of(4, 5), row_of(4, None)
    for each in (row, fixed):
        each.keep(guess(3, 0), sure(3, 0, 1), frozenset())
    assert (row.draft_tokens, fixed.draft_tokens) == (5, 4)
    row.keep(guess(3, 0, 1), sure(3, 2, 1, 1), frozenset())
    assert row.result(9) == Speculated(np.array([]), 5, 3, 2)
    assert row.result(9).acceptance_rate == 0.6
    assert row_of().result(9).acceptance_rate == 0.0
    assert row.result(4).tokens.tolist() == [3, 0, 1, 3]


def test_random_numbers() -> None:
    """Of the row's key, for a purpose and a position; 0 without a key."""
    key = Key.from_seed(3).at_sample(5)
    row = row_of(key=key)
    assert row.number("accept", 7) == uniform_number(key.fold("accept", 7))
    assert row.number("accept", 7) != row.number("token", 7)
    assert row_of().number("token", 7) == 0
    half = np.full((2, V), 0.25)
    row.keep(guess(), half[:1], frozenset())
    row.keep(guess(), half[:1], frozenset())
    assert row.text[2:].tolist() == [int(V * uniform_number(key.fold("token", at))) for at in (2, 3)]


def test_drawn_tokens() -> None:
    """Their probabilities decide; they must be of the model's vocabulary."""
    row = row_of()
    row.keep(Proposal(np.array([3], np.int32), sure(3) / 3), sure(3, 1), frozenset())
    assert row.text.tolist() == [1, 2, 3, 1]
    row.keep(Proposal(np.array([3], np.int32), sure(3) / 3), sure(2, 1), frozenset())  # the target never has 3
    assert row.text.tolist() == [1, 2, 3, 1, 2]
    for shape in ((1, V + 1), (2, V), (V,)):
        says = rf"shape \({', '.join(map(str, shape))},?\), expected \(1, {V}\), one for each token"
        with pytest.raises(ShapeError, match=says):
            row.keep(Proposal(np.array([3], np.int32), np.ones(shape)), sure(2, 1), frozenset())
    assert row.result(9).passes == 2
