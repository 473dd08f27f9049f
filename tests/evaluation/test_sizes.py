"""How much text tokens stand for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer
from minitrain.evaluation import TextSize, sizes
from minitrain.evaluation.sizes import size_after_first, size_of_text, size_of_tokens


@given(text=st.text(max_size=40), chunk=st.integers(1, 9))
def test_tokens_are_counted_in_chunks(text: str, chunk: int) -> None:
    tokens = ByteTokenizer().encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "CHUNK", chunk)
        assert size_of_tokens(ByteTokenizer(), tokens) == (len(text.encode()), len(text)) == size_of_text(text)


def test_without_the_bytes_of_tokens_the_size_is_unknown() -> None:
    assert size_of_tokens(SimpleNamespace(decode=str), np.arange(3)) is None


@given(text=st.text("aé漢😀", min_size=1, max_size=9))
def test_the_first_token_does_not_count(text: str) -> None:
    tokenizer = CharTokenizer.from_text(text)
    assert size_after_first(tokenizer, text, int(tokenizer.encode(text)[0])) == size_of_text(text[1:])


def test_a_space_at_the_beginning_belongs_to_the_text() -> None:
    """Unless the tokenizer puts one there."""
    tokenizer: Any = CharTokenizer.from_text(" éa")
    assert size_after_first(tokenizer, " éa", 0) == TextSize(3, 2)
    tokenizer.strips_space = True
    assert size_after_first(tokenizer, "éa", 0) == TextSize(3, 2)


def test_a_tokenizer_that_only_decodes_is_asked_for_the_first_token() -> None:
    tokenizer = SimpleNamespace(decode=lambda tokens: "é" * len(tokens))
    assert size_after_first(tokenizer, "éab", 7) == TextSize(2, 2)


def test_a_text_is_not_smaller_than_nothing() -> None:
    """A tokenizer may write a ligature as three letters, so its first token is longer than the text."""
    tokenizer = SimpleNamespace(decode=lambda tokens: "ffi ffi")
    assert size_after_first(tokenizer, "\N{LATIN SMALL LIGATURE FFI}", 0) == TextSize(0, 0)
