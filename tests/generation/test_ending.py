"""Where a sample ends: the same place in the engine, in texts and by trying everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.errors import ConfigError
from minitrain.generation import SamplingParams
from minitrain.generation.ending import Ending, check_detokenizer, stop_strings_of
from tests.helpers.decoding.plain_endings import ending_of

PIECES = st.lists(st.text("ab", max_size=3), min_size=1, max_size=8)
STOPS = st.lists(st.text("ab", min_size=1, max_size=4), max_size=3)
PROMPT = np.array([7], np.int32)


def ending(pieces: list[str], **settings: Any) -> Ending:
    def detokenizer(prompt: Any) -> Any:
        assert prompt.tolist() == [7]
        return lambda token: pieces[token]

    return Ending(SamplingParams(**settings), PROMPT, detokenizer)


@settings(max_examples=200)
@given(pieces=PIECES, stop=STOPS, least=st.integers(0, 8), token=st.integers(0, 8), more=st.integers(0, 2))
def test_stop_strings_stop_tokens_and_lengths(
    pieces: list[str], stop: list[str], least: int, token: int, more: int
) -> None:
    """Token ``i`` has the text ``pieces[i]``; a stop token ends the sample before its own text."""
    most = len(pieces)
    least = min(least, most)
    one = ending([*pieces, "never"], stop=stop, min_new_tokens=least, max_new_tokens=most, stop_token_ids=[token])
    stops = max(1, least) <= token + 1 <= most
    seen = pieces[: token if stops else most]
    expected = ending_of(seen, stop, least) if stop else None
    told = []
    for i in range(most):
        ended = one.add(np.array([7, *range(i + 1)], np.int32))
        told.append((one.reason, one.stopped_by))
        assert ended == (one.reason is not None)
        if ended:
            break
    assert told[:-1] == [(None, None)] * (len(told) - 1)
    reason, stopped_by = told[-1]
    if expected and expected[0] < len(seen):
        assert (len(told), reason, stopped_by) == (expected[0], "stop", expected[1])
    elif expected:  # at the end of all that is seen, or with the stop token after it
        assert (reason, stopped_by) == ("stop", expected[1])
        assert len(told) in (len(seen), len(seen) + stops)
    elif stops:
        assert (len(told), reason, stopped_by) == (token + 1, "stop", token)
    else:
        assert (len(told), reason, stopped_by) == (most, "length", None)


@given(pieces=PIECES, stop=STOPS, least=st.integers(0, 9))
def test_the_text_ends_before_the_earliest_string(pieces: list[str], stop: list[str], least: int) -> None:
    """None begins in the text of the tokens before the last of the least."""
    strings = stop_strings_of(SamplingParams(stop=stop, min_new_tokens=least))
    text = "".join([strings.add(piece) for piece in pieces]) + strings.finish()
    whole, begin = "".join(pieces), len("".join(pieces[: max(0, least - 1)]))
    places = [(at, len(one), one) for one in stop if (at := whole.find(one, begin)) >= 0]
    assert text == whole[: min(places)[0] if places else None]
    assert strings.found == (min(places)[2] if places else None)


def test_a_forced_stop_token_before_the_least_length_ends_nothing() -> None:
    one = ending([], stop_token_ids=[3], min_new_tokens=2, max_new_tokens=5)
    assert not one.add(np.array([7, 3], np.int32))
    assert one.add(np.array([7, 3, 3], np.int32))
    assert (one.reason, one.stopped_by) == ("stop", 3)


def test_a_string_that_is_complete_counts_before_a_stop_token() -> None:
    """It has waited for a longer one, which cannot come any more."""
    one = ending(["a", "b", "c"], stop=["b", "abcd"], stop_token_ids=[2])
    assert [one.add(np.array([7, *range(n)], np.int32)) for n in (1, 2, 3)] == [False, False, True]
    assert (one.reason, one.stopped_by) == ("stop", "b")


def test_a_form_that_is_complete() -> None:
    """It ends the sample before the least length; a stop string that is complete counts all the same."""

    class Form:
        def finished(self, tokens: Any) -> bool:
            return bool(len(tokens) == 4)

        def __call__(self, tokens: Any, logits: Any) -> Any:
            return logits

    for stop, stopped_by in ((["x"], None), (["b", "abcd"], "b")):
        one = ending(["a", "b", "c"], stop=stop, processor=Form(), min_new_tokens=0 if stopped_by else 5)
        told = [one.add(np.array([7, *range(n)], np.int32)) for n in (1, 2, 3)]
        assert told == [False, False, True]
        assert (one.reason, one.stopped_by) == ("stop", stopped_by)


def test_stop_strings_need_a_detokenizer() -> None:
    check_detokenizer(SamplingParams(), None)
    check_detokenizer(SamplingParams(stop="a"), lambda prompt: str)
    with pytest.raises(ConfigError, match="pass detokenizer=, or use stop_token_ids"):
        check_detokenizer(SamplingParams(stop="a"), None)
