"""Prompt lookup: what is copied, and from where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.generation import DraftRequest, PromptLookup, SamplingParams


def request(text: list[int], most: int) -> DraftRequest:
    return DraftRequest(np.array(text, np.int32), most, lambda *_: 0.0, SamplingParams(), lambda logits, text: logits)


@pytest.mark.parametrize(
    ("text", "longest", "shortest", "found"),
    [
        ([7], 3, 1, []),
        ([7, 7], 3, 1, [7, 7, 7, 7]),
        ([1, 2, 3, 4], 3, 1, []),
        ([1, 2, 3, 1, 2], 3, 1, [3, 1, 2, 3]),
        ([1, 2, 3, 1, 2, 4, 1, 2], 3, 1, [4, 1, 2, 4]),  # the last occurrence
        ([5, 1, 2, 3, 9, 2, 4, 5, 1, 2], 3, 1, [3, 9, 2, 4]),  # of the longest end
        ([5, 1, 2, 3, 9, 2, 4, 5, 1, 2], 1, 1, [4, 5, 1, 2]),
        ([9, 2, 4, 1, 2], 3, 2, []),  # one token is too short an end
        ([9, 2, 4, 1, 2], 3, 1, [4, 1, 2, 4]),
        ([1, 2, 1, 2], 2, 2, [1, 2, 1, 2]),
        ([1, 2, 1], 2, 2, []),
    ],
)
def test_some_texts(text: list[int], longest: int, shortest: int, found: list[int]) -> None:
    lookup = PromptLookup(longest, shortest)
    assert (lookup.longest, lookup.shortest) == (longest, shortest)
    for most in range(1, 5):
        drafts = lookup.propose({4: request(text, most)})
        assert drafts.keys() == {4}
        assert drafts[4].tokens.tolist() == found[:most]
        assert drafts[4].tokens.dtype == np.int32
        assert drafts[4].probabilities is None


@given(text=st.lists(st.integers(0, 2), min_size=1, max_size=12), longest=st.integers(1, 4), most=st.integers(1, 9))
def test_lookup_copies_what_followed_last_time(text: list[int], longest: int, most: int) -> None:
    found = PromptLookup(longest).look_up(np.array(text, np.int32), most).tolist()
    for size in range(longest, 0, -1):
        for place in range(len(text) - size - 1, -1, -1):
            if text[place : place + size] == text[len(text) - size :]:
                grown = list(text)
                for i in range(most):
                    grown.append(grown[place + size + i])
                assert found == grown[len(text) :]
                return
    assert found == []


@given(text=st.lists(st.integers(0, 2), min_size=2, max_size=9), shortest=st.integers(1, 4), more=st.integers(0, 3))
def test_lookup_needs_the_shortest_length(text: list[int], shortest: int, more: int) -> None:
    found = PromptLookup(shortest + more, shortest).look_up(np.array(text), 1)
    end = text[len(text) - shortest :]
    occurs = any(text[i : i + shortest] == end for i in range(len(text) - shortest))
    assert len(found) == int(occurs)


@pytest.mark.parametrize(("longest", "shortest"), [(0, 0), (3, 0), (2, 3)])
def test_lookup_of_no_tokens(longest: int, shortest: int) -> None:
    with pytest.raises(ConfigError, match="must be 1 or more and at most"):
        PromptLookup(longest, shortest)
