"""Text to ids and back: nothing lost, everything foreign named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import TOKENIZERS, ByteTokenizer, CharTokenizer, build_tokenizer, tokenizer_from_json
from minitrain.errors import ConfigError, DataError, TokenError

TEXT = st.text(min_size=1)  # any Unicode text
WITH_SURROGATES = st.text(st.characters(codec=None), min_size=1)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXT)
def test_round_trip(name: str, text: str) -> None:
    tokenizer = build_tokenizer(name, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert ids.min() >= 0
    assert ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == tokenizer.decode(ids.tolist()) == text
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == tokenizer.decode(tokenizer.encode("")) == ""


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXT)
def test_survives_json(name: str, text: str) -> None:
    tokenizer = build_tokenizer(name, text)
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert type(again) is type(tokenizer)
    assert again.to_json() == tokenizer.to_json()
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist()


@given(text=WITH_SURROGATES)
def test_char_ids_are_ranks_in_the_sorted_vocabulary(text: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    vocabulary = sorted(set(text))
    assert tokenizer.characters == "".join(vocabulary)
    assert tokenizer.vocab_size == len(vocabulary)
    assert tokenizer.encode(text).tolist() == [vocabulary.index(character) for character in text]
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(known=TEXT, text=TEXT)
def test_the_first_unknown_character_is_named(known: str, text: str) -> None:
    tokenizer = CharTokenizer.from_text(known)
    unknown = [position for position, character in enumerate(text) if character not in known]
    if not unknown:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        return
    with pytest.raises(DataError) as caught:
        tokenizer.encode(text)
    first = text[unknown[0]]
    assert f"{first!r} (U+{ord(first):04X}, position {unknown[0]})" in str(caught.value)
    assert "data.tokenizer=byte" in str(caught.value)


@given(data=st.binary())
def test_bytes_that_are_not_utf8_decode_to_replacement_characters(data: bytes) -> None:
    assert ByteTokenizer().decode(np.frombuffer(data, np.uint8)) == data.decode("utf-8", "replace")


def test_bytes_of_known_text() -> None:
    assert ByteTokenizer().encode("aé").tolist() == [0x61, 0xC3, 0xA9]


def test_a_lone_surrogate_has_no_bytes() -> None:
    with pytest.raises(DataError, match=r"surrogate.*position 2"):
        ByteTokenizer().encode("ab\ud800")


@pytest.mark.parametrize("tokenizer", [CharTokenizer("abc"), ByteTokenizer()])
def test_ids_outside_the_vocabulary(tokenizer: CharTokenizer | ByteTokenizer) -> None:
    size = tokenizer.vocab_size
    for ids in ([0, 1, size], [0, 1, -1], np.array([0, 1, size], np.int64)):
        with pytest.raises(TokenError, match=f"{ids[2]} at position 2 is outside .* {size} ids"):
            tokenizer.decode(ids)
    wrong: Any
    for wrong in ([0.5, 1.0], np.zeros((2, 2), int)):
        with pytest.raises(TokenError, match="one-dimensional sequence of integers"):
            tokenizer.decode(wrong)


@pytest.mark.parametrize("characters", ["", "ba", "aab", "abb"])
def test_a_vocabulary_that_is_not_one(characters: str) -> None:
    with pytest.raises(DataError, match="sorted and without repetition"):
        CharTokenizer(characters)


def test_an_empty_text_has_no_vocabulary() -> None:
    with pytest.raises(DataError, match="empty text"):
        build_tokenizer("char", "")


def test_names() -> None:
    with pytest.raises(ConfigError, match="no tokenizer 'chars': did you mean 'char'"):
        build_tokenizer("chars", "text")
    with pytest.raises(ConfigError, match="choose one of char, byte"):
        build_tokenizer("xyz", "text")


@pytest.mark.parametrize(
    "description",
    [None, [], {}, {"name": "bpe"}, {"name": "char"}, {"name": "char", "characters": ["a", "b"]}, "char"],
)
def test_descriptions_of_no_tokenizer(description: Any) -> None:
    with pytest.raises(DataError, match="not the description of a tokenizer"):
        tokenizer_from_json(description)
    with pytest.raises(DataError, match="sorted"):
        tokenizer_from_json({"name": "char", "characters": "ba"})
