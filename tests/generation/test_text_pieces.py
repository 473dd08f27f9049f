"""Text as it is written: no character split, nothing lost, nothing twice, whatever the tokens."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    build_tokenizer,
    train_bpe_tokenizer,
)
from minitrain.errors import ConfigError, TokenError
from minitrain.generation import Detokenizer, StopStrings, detokenizer_of, text_pieces
from minitrain.generation.text.detokenize import encode_prompt, unused_tokens
from tests.helpers.texts.adversarial import TRAINING
from tests.helpers.texts.tokenizers_of_others import KINDS, described

OWN = ("char", "byte", "bpe", "surrogates")


@cache
def tokenizer_of(kind: str) -> Any:
    if kind == "surrogates":
        return CharTokenizer("ab\ud800\udc00\ufffd")
    if kind == "bpe":
        return train_bpe_tokenizer([TRAINING], vocab_size=500)
    return build_tokenizer(kind, TRAINING) if kind in OWN else PretrainedTokenizer(described(kind))


class OnlyDecodes:
    """A tokenizer of somebody's own, which does not tell the bytes of its tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.decode = tokenizer.decode


def ids_of(tokenizer: Any) -> st.SearchStrategy[list[int]]:
    """Any ids; and those of texts that are cut anywhere, so that characters are split."""
    ids = st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20)
    text = "".join(character for character in "Hé 漢字 😀👍🏽 e\u0301" if _knows(tokenizer, character))
    whole = tokenizer.encode(text).tolist()
    return ids | st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole))).map(lambda c: whole[c[0] :][: c[1]])


def _knows(tokenizer: Any, character: str) -> bool:
    return not isinstance(tokenizer, CharTokenizer) or character in tokenizer.characters


@pytest.mark.parametrize("wrapped", [False, True], ids=["bytes", "decode"])
@pytest.mark.parametrize("kind", [*OWN, *KINDS])
@given(data=st.data())
def test_the_pieces_are_the_text(kind: str, wrapped: bool, data: st.DataObject) -> None:
    tokenizer = tokenizer_of(kind)
    ids = data.draw(ids_of(tokenizer))
    pieces = list(text_pieces(ids, OnlyDecodes(tokenizer) if wrapped else tokenizer))
    assert "".join(pieces) == tokenizer.decode(ids)
    assert all(pieces)


@pytest.mark.parametrize("kind", ["byte", "bpe", "gpt-2", "qwen2", "sentencepiece-like"])
@given(text=st.text(max_size=8))
def test_a_piece_is_never_half_a_character(kind: str, text: str) -> None:
    """Of a text in UTF-8, every piece is a part: there is no U+FFFD that is not in the text itself."""
    tokenizer = tokenizer_of(kind)
    ids = tokenizer.encode(text).tolist()
    detokenizer, shown = Detokenizer(tokenizer), ""
    for token in ids:
        shown += detokenizer.add(token)
        assert tokenizer.decode(ids).startswith(shown)
    assert detokenizer.finish() == ""


@pytest.mark.parametrize("kind", [*OWN, *KINDS])
@given(data=st.data())
def test_a_text_goes_on_after_its_prompt(kind: str, data: st.DataObject) -> None:
    """What follows a prompt is what the whole has more than the prompt, the space between them included."""
    tokenizer = tokenizer_of(kind)
    prompt, new = data.draw(ids_of(tokenizer)), data.draw(ids_of(tokenizer))
    whole, begun = tokenizer.decode([*prompt, *new]), tokenizer.decode(prompt)
    pieces = "".join(text_pieces(new, tokenizer, after=prompt))
    if whole.startswith(begun) and not begun.endswith("\ufffd"):
        assert pieces == whole[len(begun) :]
    add = detokenizer_of(tokenizer)(np.array(prompt, np.int32))
    assert pieces.startswith("".join(add(token) for token in new))


def test_a_piece_for_each_character() -> None:
    assert list(text_pieces("aé漢🙂b".encode(), ByteTokenizer())) == ["a", "é", "漢", "🙂", "b"]


def test_bytes_that_never_become_a_character_wait_no_longer_than_one() -> None:
    detokenizer = Detokenizer(ByteTokenizer())
    assert [detokenizer.add(byte) for byte in b"\xf0\x9f\x98A\x80"] == ["", "", "", "\ufffdA", "\ufffd"]
    assert detokenizer.add(0xE2) == ""
    assert detokenizer.finish() == "\ufffd"


def test_a_space_between_prompt_and_text() -> None:
    """SentencePiece leaves out the first space of a text, and only that one."""
    tokenizer = tokenizer_of("sentencepiece-like")
    ids = tokenizer.encode("hello hello").tolist()
    half = tokenizer.encode("hello").tolist()
    assert ids[: len(half)] == half
    assert tokenizer.decode(ids[len(half) :]) == "hello"
    assert "".join(text_pieces(ids[len(half) :], tokenizer, after=half)) == " hello"


@pytest.mark.parametrize("token", [-1, BPETokenizer([]).vocab_size])
def test_a_token_outside_the_vocabulary(token: int) -> None:
    tokenizer = BPETokenizer([])
    with pytest.raises(TokenError, match=f"token id {token}"):
        Detokenizer(tokenizer).add(token)
    with pytest.raises(TokenError, match=f"token id {token}"):
        Detokenizer(tokenizer, after=[token])


def test_a_prompt_begins_as_its_tokenizer_wants() -> None:
    plain = ByteTokenizer()
    assert encode_prompt(plain, "né").tolist() == plain.encode("né").tolist()
    begins = SimpleNamespace(encode=plain.encode, encode_prompt=lambda text: plain.encode("\0" + text))
    assert encode_prompt(begins, "né").tolist() == [0, *plain.encode("né").tolist()]


def test_tokens_that_a_tokenizer_does_not_know_have_no_text() -> None:
    model = SimpleNamespace(config=SimpleNamespace(vocab_size=260))
    for place in (model, SimpleNamespace(model=model)):  # a session has a model
        assert unused_tokens(place, ByteTokenizer()) == range(256, 260)
        assert not unused_tokens(place, SimpleNamespace())
    assert not unused_tokens(SimpleNamespace(), ByteTokenizer())


def test_leaving_the_loop_ends_the_tokens() -> None:
    ended = []

    def tokens() -> Any:
        try:
            for _ in range(9):
                yield ord("a")
        finally:
            ended.append(True)

    pieces = text_pieces(tokens(), ByteTokenizer())
    assert next(pieces) == "a"
    pieces.close()
    assert ended == [True]


LETTERS = st.text("ab#\n", max_size=12)


def cut(text: str, places: list[int]) -> list[str]:
    """The text in pieces."""
    borders = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(borders)]


@given(
    text=LETTERS,
    stops=st.lists(st.text("ab#\n", min_size=1, max_size=4), max_size=4),
    places=st.lists(st.integers(0, 20), max_size=8),
)
def test_a_text_is_cut_at_its_first_stop_string(text: str, stops: list[str], places: list[int]) -> None:
    stop = StopStrings(stops)
    shown = ""
    for piece in cut(text, places):
        shown += stop.add(piece)
        assert text.startswith(shown)
    shown += stop.finish()
    found = [place for other in stops if (place := text.find(other)) >= 0]
    assert shown == text[: min(found, default=len(text))]
    assert (stop.found is None) == (not found)
    if stop.found is not None:
        assert text.startswith(stop.found, len(shown))
        assert (stop.add("more"), stop.finish()) == ("", "")


@given(text=LETTERS, stops=st.lists(st.text("ab#", min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_more_is_held_back_than_may_begin_a_stop_string(text: str, stops: list[str]) -> None:
    stop, shown = StopStrings(stops), ""
    for character in text:
        shown += stop.add(character)
        if stop.found is not None:
            return
    waiting = text[len(shown) :]
    complete = [place for other in stops if (place := waiting.find(other)) >= 0]
    assert not waiting or complete or any(other.startswith(waiting) for other in stops)


def test_stop_strings_must_have_a_character() -> None:
    with pytest.raises(ConfigError, match="one character or more"):
        StopStrings(["a", ""])
    with pytest.raises(ConfigError, match="must be strings"):
        StopStrings([b"a"])  # type: ignore[list-item]
    assert StopStrings("###").stops == ("###",)
