"""Edit distance, error rates and exact matches: by the recursive definition, and by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import DataError
from minitrain.measures import ErrorRate, ExactMatch, edit_distance
from tests.helpers.measuring.measured import value_of

SEQUENCES = st.lists(st.sampled_from("abc"), max_size=6)


def by_definition(left: tuple[Any, ...], right: tuple[Any, ...]) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        changed = distance(i - 1, j - 1) + (left[i - 1] != right[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, changed)

    return distance(len(left), len(right))


@given(left=SEQUENCES, right=SEQUENCES)
def test_edit_distance(left: list[str], right: list[str]) -> None:
    assert edit_distance(left, right) == by_definition(tuple(left), tuple(right)) == edit_distance(right, left)


@pytest.mark.parametrize(("left", "right", "edits"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3)])
def test_edit_distance_of_texts(left: str, right: str, edits: int) -> None:
    assert edit_distance(left, right) == edits


@given(found=SEQUENCES, references=st.lists(SEQUENCES, min_size=1, max_size=4))
def test_the_nearest_reference_counts(found: list[str], references: list[list[str]]) -> None:
    distances = [by_definition(tuple(found), tuple(one)) for one in references]
    nearest = [len(one) for one, edits in zip(references, distances, strict=True) if edits == min(distances)]
    (row,) = ErrorRate().rows([found], [references])
    assert row.tolist() == [min(distances), max(nearest)]
    assert ExactMatch().rows([found], [references]).tolist() == [[found in references, 1]]


def test_words_phonemes_letters_and_ids() -> None:
    assert value_of(ErrorRate(), ["the cat sat"], ["the cat sat down"]) == {"": 1 / 4}
    assert value_of(ErrorRate(list), ["cat"], ["cut"]) == {"": 1 / 3}
    assert value_of(ErrorRate(), [["K", "AE", "T"]], [["K", "AH", "T", "S"]]) == {"": 1 / 2}
    several = [[["K", "AE", "T"], ["K", "AH", "T"]]]
    assert value_of(ErrorRate(), [["K", "AH"]], several) == {"": 1 / 3}
    assert value_of(ErrorRate(), [np.array([1, 2])], [np.array([1, 3])]) == {"": 1 / 2}
    assert value_of(ExactMatch(), ["a", "b"], ["a", ["c", "b"]]) == {"": 1.0}
    assert value_of(ExactMatch(), [np.array([1, 2]), [1]], [[1, 2], [2]]) == {"": 0.5}
    assert value_of(ExactMatch(), [["a", "b"]], [("a", "b")]) == {"": 1.0}
    assert value_of(ExactMatch(), [["a", "b"]], ["ab"]) == {"": 0.0}, "two units are no text"


def test_empty_outputs_and_targets() -> None:
    assert ErrorRate().rows(["", "a b", ""], ["a b", "", ""]).tolist() == [[2, 2], [2, 0], [0, 0]]
    assert value_of(ErrorRate(), ["a"], [""]) == {}, "there is nothing to divide by"
    assert value_of(ErrorRate(), ["a b c"], ["a"]) == {"": 2.0}
    assert value_of(ExactMatch(), [[], []], [[], [1]]) == {"": 0.5}
    assert value_of(ErrorRate(), [[]], [[]]) == {}
    assert ErrorRate().rows([], []).shape == ExactMatch().rows([], []).shape == (0, 2)


def test_a_sample_without_reference_is_named() -> None:
    with pytest.raises(DataError, match="sample 1 of the batch has no reference"):
        ErrorRate().rows(["a", "b"], ["a", []])
    with pytest.raises(DataError, match="there are 2 outputs and references for 1: give one for each"):
        ExactMatch().rows(["a", "b"], ["a"])


def test_references_may_be_elsewhere() -> None:
    batch = {"target": ["a"]}
    assert value_of(ErrorRate(references=lambda batch: batch["target"]), ["b"], batch) == {"": 1.0}
    assert value_of(ExactMatch(references=lambda batch: batch["target"]), ["a"], batch) == {"": 1.0}
