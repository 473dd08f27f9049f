"""From events to text: nothing of a stop string is shown, and the tokens told are those of the text."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer
from minitrain.generation import Event
from minitrain.server.texts import SampleText, TokenNames

LETTERS = "ab\n"


def events(tokens: list[int], *, ended_by: int | None = None) -> list[Event]:
    last = len(tokens) - 1
    return [
        Event(0, 0, token, -float(n), (), "length" if n == last else None, ended_by if n == last else None)
        for n, token in enumerate(tokens)
    ]


@given(
    text=st.text(LETTERS, min_size=1, max_size=30),
    stop=st.lists(st.text(LETTERS, min_size=1, max_size=3), max_size=3),
)
def test_text_and_tokens_end_at_the_first_stop_string(text: str, stop: list[str]) -> None:
    tokenizer = CharTokenizer.from_text(LETTERS)
    sample, shown, tokens, reason = SampleText(tokenizer, [0], stop), "", [], None
    for event in events(tokenizer.encode(text).tolist()):
        piece = sample.add(event)
        shown += piece.text
        tokens += piece.tokens
        reason = reason or piece.finish_reason
        assert len(tokens) <= len(shown)  # never ahead of the text
    places = [place for one in stop if (place := text.find(one)) >= 0]
    expected = text[: min(places)] if places else text
    assert shown == expected
    assert [token.offset for token in tokens] == list(range(len(expected)))
    assert [token.logprob for token in tokens] == [-float(n) for n in range(len(expected))]
    assert reason == ("stop" if places else "length")


@given(text=st.text(LETTERS, min_size=1, max_size=12), least=st.integers(0, 14))
def test_stop_strings_are_overlooked_before_the_least_length(text: str, least: int) -> None:
    tokenizer = CharTokenizer.from_text(LETTERS)
    sample = SampleText(tokenizer, [0], [LETTERS[0]], least)
    pieces = [sample.add(event) for event in events(tokenizer.encode(text).tolist())]
    place = text.find(LETTERS[0], max(0, least - 1))
    expected = text if place < 0 else text[:place]
    assert "".join(piece.text for piece in pieces) == expected
    assert len([token for piece in pieces for token in piece.tokens]) == len(expected)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=30))
def test_bytes_that_are_no_character_yet_wait(tokens: list[int]) -> None:
    sample = SampleText(ByteTokenizer(), [1], ())
    pieces = [sample.add(event) for event in events(tokens)]
    assert "".join(piece.text for piece in pieces) == ByteTokenizer().decode(tokens)
    assert [token.id for piece in pieces for token in piece.tokens] == tokens


def test_an_end_token_is_no_text() -> None:
    sample = SampleText(ByteTokenizer(), [1], ())
    pieces = [sample.add(event) for event in events([97, 98, 0], ended_by=0)]
    assert "".join(piece.text for piece in pieces) == "ab"
    assert sample.count == 2
    assert sample.ended


def test_names_of_tokens() -> None:
    names = TokenNames(ByteTokenizer())
    assert names.text_of(ord("a")) == "a"
    assert names.text_of(200) == "\N{REPLACEMENT CHARACTER}"
    assert names.text_of(1000) == "<1000>"  # a model may have more tokens than its tokenizer

    class Plain:
        """Tells no bytes."""

        def decode(self, tokens: list[int]) -> str:
            return CharTokenizer("xyz").decode(np.array(tokens))

    assert TokenNames(Plain()).text_of(1) == "y"
    assert TokenNames(Plain()).text_of(7) == "<7>"
