"""A text in pieces: all of it, with the ids of the tokenizer, and never as HTML."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import BPETokenizer, ByteTokenizer, CharTokenizer, TokenView, train_bpe_tokenizer
from minitrain.data.token_view import MOST, VISIBLE
from minitrain.errors import DataError, TokenError, printable
from tests.helpers.texts.html_checks import page_of

BPE = train_bpe_tokenizer(
    ["the other theory of the weather, naïve 日本 <script>alert(1)</script> " * 5], vocab_size=300
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
HOSTILE = "<script>alert(1)</script> </span><img src=x onerror=alert(1)> &amp; \u202e"


@given(texts | st.just(HOSTILE), st.sampled_from([BPE, ByteTokenizer()]))
def test_pieces_are_the_text_and_ids_the_tokenizers(text: str, tokenizer: BPETokenizer | ByteTokenizer) -> None:
    view = TokenView(tokenizer, text)
    assert [piece.id for piece in view.pieces] == tokenizer.encode(text).tolist()
    back = {sign: letter for letter, sign in VISIBLE.items()}
    found = b""
    for piece in view.pieces:
        if piece.kind == "bytes":
            found += bytes.fromhex(piece.text)
        elif not set(text) & set(back):
            found += "".join(back.get(letter, letter) for letter in piece.text).encode()
    assert set(text) & set(back) or found == text.encode()
    page = page_of(view)
    assert [page.texts[i] for i in range(1, 2 * len(view.pieces), 2)] == [str(piece.id) for piece in view.pieces]
    assert [page.texts[i] for i in range(0, 2 * len(view.pieces), 2)] == [printable(p.text) for p in view.pieces]


def test_special_tokens_have_their_names() -> None:
    view = TokenView(BPE, [1, *BPE.encode("the"), 2])
    assert [piece.kind for piece in view.pieces] == ["special", "text", "special"]
    assert str(view) == "<bos>|the|<eos>"
    assert "<bos>" in page_of(view).texts
    assert repr(view) == "<TokenView of 3 tokens>"


def test_spaces_and_line_breaks_are_seen() -> None:
    text = "a b\n\tc"
    assert str(TokenView(CharTokenizer.from_text(text), text)) == "a|·|b|↵|→|c"


def test_a_long_text_is_shown_in_part() -> None:
    page = page_of(TokenView(ByteTokenizer(), "x" * (MOST + 5)))
    assert page.texts.count("x") == MOST
    assert page.texts[-1] == f"{MOST + 5:,} tokens, the first {MOST:,} of them shown"


def test_a_tokenizer_that_does_more_than_join_is_decoded() -> None:
    class Odd(ByteTokenizer):
        def token_bytes(self) -> None:  # type: ignore[override]
            return None

    assert str(TokenView(Odd(), "a b")) == "a|·|b"


def test_what_is_no_text_of_the_tokenizer_is_refused() -> None:
    with pytest.raises(DataError, match="not among the 2 characters"):
        TokenView(CharTokenizer("ab"), "abc")
    with pytest.raises(TokenError, match="outside the vocabulary"):
        TokenView(CharTokenizer("ab"), np.array([0, 2]))
