"""One row: what it keeps of a draft, and how much it drafts next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minitrain.errors import ShapeError
from minitrain.generation import SamplingParams
from minitrain.generation.speculative.acceptance import Proposal
from minitrain.generation.speculative.row import Row
from minitrain.random import Key, uniform_number

V = 4


def sure(*tokens: int) -> Any:
    """Logits that leave no choice."""
    return np.where(np.eye(V)[list(tokens)] > 0, 3.0, -np.inf).astype(np.float32)


def row_of(draft_tokens: int = 3, most: int | None = 9, sample: int = 0, **settings: Any) -> Row:
    params = SamplingParams(**{"max_new_tokens": 99, **settings})
    return Row(np.array([1, 2], np.int32), params, sample, None, draft_tokens, most)  # type: ignore[arg-type]


def guess(*tokens: int) -> Proposal:
    return Proposal(np.array(tokens, np.int32), None)


def drawn(*tokens: int) -> Proposal:
    return Proposal(np.array(tokens, np.int32), np.eye(V)[list(tokens)])


@pytest.mark.parametrize("proposal", [guess, drawn])
@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize(
    ("drafted", "target", "settings", "new", "accepted", "next_draft", "reason"),
    [
        ([3, 0], [3, 0, 1], {}, [3, 0, 1], 2, 5, None),  # whole
        ([3, 0], [3, 2, 1], {}, [3, 2], 1, 2, None),
        ([3, 0], [2, 0, 1], {}, [2], 0, 1, None),
        ([3, 0], [3, 0, 1], {"stop_token_ids": [0]}, [3, 0], 2, 5, "stop"),
        ([3, 0], [3, 0, 1], {"stop_token_ids": [3, 1]}, [3], 1, 2, "stop"),
        ([3, 0], [3, 0, 1], {"stop_token_ids": [1]}, [3, 0, 1], 2, 5, "stop"),
        ([3, 0], [3, 0, 1], {"max_new_tokens": 1}, [3], 1, 2, "length"),
        ([3, 0], [3, 0, 1], {"max_new_tokens": 2}, [3, 0], 2, 5, "length"),
        ([3, 0], [2, 0, 1], {"max_new_tokens": 1}, [2], 0, 1, "length"),
        ([3, 0], [3, 0, 1], {"forced_tokens": {1: 2}}, [3, 2], 1, 2, None),
    ],
)
def test_what_is_kept_of_a_draft(
    proposal: Any,
    temperature: float,
    drafted: list[int],
    target: list[int],
    settings: dict[str, Any],
    new: list[int],
    accepted: int,
    next_draft: int,
    reason: str | None,
) -> None:
    """All until the first wrong one, which the target replaces; nothing after the end."""
    row = row_of(temperature=temperature, **settings)
    assert (row.new, row.ending.reason, row.draft_tokens) == (0, None, 3)
    row.keep(proposal(*drafted), sure(*target))
    assert row.text.tolist() == [1, 2, *new]
    assert row.text.dtype == np.int32
    assert (row.new, row.ending.reason, row.draft_tokens) == (len(new), reason, next_draft)
    result = row.result()
    assert result.tokens.tolist() == new
    assert (result.drafted, result.accepted, result.passes) == (len(drafted), accepted, 1)
    assert (result.logprobs, result.best) == (None, None)
    assert result.stopped_by == (new[-1] if reason == "stop" else None)


def test_without_a_draft_the_model_draws_one_token() -> None:
    row = row_of()
    row.keep(guess(), sure(2))
    assert (row.text.tolist(), row.draft_tokens) == ([1, 2, 2], 3)
    assert (row.result().drafted, row.result().accepted, row.result().passes) == (0, 0, 1)


def test_counts_add_up() -> None:
    """Over all drafts of a row; the length of drafts has a limit, or stays."""
    row, fixed = row_of(4, 5), row_of(4, None)
    for each in (row, fixed):
        each.keep(guess(3, 0), sure(3, 0, 1))
    assert (row.draft_tokens, fixed.draft_tokens) == (5, 4)
    row.keep(guess(3, 0, 1), sure(3, 2, 1, 1))
    result = row.result()
    assert (result.drafted, result.accepted, result.passes) == (5, 3, 2)
    assert result.acceptance_rate == 0.6
    assert row_of().result().acceptance_rate == 0.0
    assert result.tokens.tolist() == [3, 0, 1, 3, 2]


def test_random_numbers() -> None:
    """Of the seed and the sample, for a purpose and a position; 0 at temperature 0."""
    key = Key.from_seed(3).at_sample(5)
    row = row_of(sample=5, seed=3)
    assert row.number("accept", 7) == uniform_number(key.fold("accept", 7))
    assert row.number("accept", 7) != row.number("token", 7)
    assert row_of(temperature=0).number("token", 7) == 0
    even = np.zeros((1, V), np.float32)
    row.keep(guess(), even)
    row.keep(guess(), even)
    assert row.text[2:].tolist() == [int(V * uniform_number(key.fold("token", at))) for at in (2, 3)]


def test_each_place_sees_the_text_up_to_there() -> None:
    """And none sees a text with a drafted token that was not kept."""
    seen: list[list[int]] = []

    def processor(tokens: Any, logits: Any) -> Any:
        seen.append(tokens.tolist())
        return logits

    row = row_of(processor=processor)
    row.keep(guess(3, 0, 2), sure(3, 1, 2, 2))
    row.keep(drawn(0), sure(0, 3))
    assert seen == [[1, 2], [1, 2, 3], [1, 2, 3, 1], [1, 2, 3, 1, 0]]


def test_log_probabilities_are_the_model_s_own() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]))
    row = row_of(temperature=0, logprobs=2, logit_bias={1: 9.0})
    row.keep(guess(1), logits)
    result = row.result()
    assert result.tokens.tolist() == [1, 1]
    assert result.logprobs == pytest.approx(np.log([0.2, 0.3]))
    assert [[token for token, _ in best] for best in result.best or ()] == [[3, 2], [0, 1]]


def test_a_draft_of_another_vocabulary() -> None:
    row = row_of()
    for shape in ((1, V + 1), (2, V), (V,)):
        says = rf"shape \({', '.join(map(str, shape))},?\), expected \(1, {V}\), one for each token"
        with pytest.raises(ShapeError, match=says):
            row.keep(Proposal(np.array([3], np.int32), np.ones(shape)), sure(2, 1))
    assert (row.new, row.result().passes) == (0, 0)
