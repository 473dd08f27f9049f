"""A text in two parts has the tokens of the whole text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import ByteTokenizer, CharTokenizer, train_bpe_tokenizer
from minitrain.errors import DataError
from minitrain.evaluation import encode_pair
from minitrain.evaluation.pairs import start_token
from minitrain.generation.text.vocabulary import end_tokens
from tests.evaluation.test_text_score import BeginningTokenizer

TEXT = "hello world, hello word; worldly words are held whole\n" * 4
BPE = train_bpe_tokenizer([TEXT], vocab_size=300)
PARTS = st.text(alphabet="helo wrd", max_size=12)


@given(context=PARTS, continuation=PARTS)
def test_the_parts_are_the_tokens_of_the_whole(context: str, continuation: str) -> None:
    for tokenizer in (ByteTokenizer(), CharTokenizer.from_text(TEXT), BPE):
        before, after = encode_pair(tokenizer, context, continuation)
        whole, alone = tokenizer.encode(context + continuation), tokenizer.encode(context.rstrip())
        assert len(before) >= 1
        if alone.size and len(whole) and alone[0] == whole[0]:
            np.testing.assert_array_equal(np.concatenate([before, after]), whole)
            np.testing.assert_array_equal(before, alone[: len(before)])
        else:
            np.testing.assert_array_equal(after, whole)
            ends = end_tokens(tokenizer)
            np.testing.assert_array_equal(before, ends if ends else tokenizer.encode("\n"))


def test_a_space_at_the_end_of_the_context_belongs_to_the_continuation() -> None:
    world = BPE.encode(" world")
    assert len(world) < 6, "the tokenizer has longer tokens"
    for pair in (("hello", " world"), ("hello ", "world")):
        before, after = encode_pair(BPE, *pair)
        np.testing.assert_array_equal(before, BPE.encode("hello"))
        np.testing.assert_array_equal(after, world)


def test_a_token_across_the_border_belongs_to_the_continuation() -> None:
    whole, alone = BPE.encode("held hello"), BPE.encode("held hell")
    assert len(whole) <= len(alone), "cut after so many tokens, the continuation would be empty"
    before, after = encode_pair(BPE, "held hell", "o")
    np.testing.assert_array_equal(before, BPE.encode("held"))
    np.testing.assert_array_equal(after, BPE.encode(" hello"))


@pytest.mark.parametrize("context", ["", "ab"])
def test_a_begin_token_is_put_before_the_context(context: str) -> None:
    tokenizer: Any = BeginningTokenizer("abc")
    before, after = encode_pair(tokenizer, context, "ca")
    assert before.tolist() == [3, *tokenizer.encode(context)]
    assert after.tolist() == [2, 0]


class RolesTokenizer(CharTokenizer):
    """A tokenizer that has special tokens and adds none."""

    def __init__(self, begin: int | None, end: tuple[int, ...]) -> None:
        super().__init__("\nabcdefgh")
        self.begin_id, self.end_ids = begin, end

    def encode(self, text: str) -> Any:
        """As SentencePiece, a space before what does not begin with a letter."""
        return np.concatenate([[9], super().encode(text)]) if text[:1] == "\n" else super().encode(text)


@pytest.mark.parametrize(("begin", "end", "expected"), [(5, (6, 7), 5), (0, (6,), 0), (None, (6, 7), 6), (None, (), 0)])
def test_the_start_of_a_text_is_begin_or_end_or_line_break(begin: Any, end: Any, expected: int) -> None:
    tokenizer = RolesTokenizer(begin, end)
    assert start_token(tokenizer) == expected
    assert encode_pair(tokenizer, "", "ab").context.tolist() == [expected]


def test_a_context_is_needed_where_nothing_stands_for_the_start() -> None:
    with pytest.raises(DataError, match="give each text a context"):
        encode_pair(CharTokenizer("abc"), "", "a")
