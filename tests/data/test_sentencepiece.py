"""SentencePiece's BPE against its rule written out plainly; the library itself is the oracle in ``tests/peers``."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.data import SentencePieceTokenizer, tokenizer_from_gguf, tokenizer_from_json
from minitrain.data.text.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from minitrain.errors import DataError, TokenError
from tests.helpers.texts.adversarial import TEXTS

FIRST = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<tool call>", 0.0, USER_DEFINED)]
FIRST += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
PIECES = st.dictionaries(
    st.text("ab▁", min_size=1, max_size=4),
    st.tuples(st.integers(-6, 0), st.sampled_from([NORMAL, NORMAL, NORMAL, UNUSED])),
    max_size=16,
)


def vocabulary(pieces: dict[str, tuple[int, int]]) -> list[tuple[str, float, int]]:
    return FIRST + [(piece, float(score), kind) for piece, (score, kind) in pieces.items()]


def made(pieces: dict[str, tuple[int, int]], **settings: Any) -> SentencePieceTokenizer:
    tokens, scores, types = zip(*vocabulary(pieces), strict=True)
    return SentencePieceTokenizer(tokens, scores, types, begin=1, end=[2], **settings)


def plainly(pieces: dict[str, tuple[int, int]], text: str) -> list[str]:
    """The symbols of a text: the best pair is joined, the leftmost of equals; then unused ones are taken apart."""
    symbols = [(letter, ()) for letter in text]
    while True:
        pairs = [(i, a[0] + b[0]) for i, (a, b) in enumerate(pairwise(symbols))]
        known = [(-pieces[piece][0], i) for i, piece in pairs if piece in pieces]
        if not known:
            break
        _, i = min(known)
        symbols[i : i + 2] = [(symbols[i][0] + symbols[i + 1][0], (symbols[i], symbols[i + 1]))]

    def apart(symbol: Any) -> list[str]:
        text, halves = symbol
        if halves and pieces[text][1] == UNUSED:
            return [part for half in halves for part in apart(half)]
        return [text]

    return [part for symbol in symbols for part in apart(symbol)]


@given(pieces=PIECES, text=st.text("ab c", max_size=30), prefix=st.booleans())
def test_pairs_are_joined_by_the_rule(pieces: dict[str, tuple[int, int]], text: str, prefix: bool) -> None:
    pieces = {"▁": (-9, NORMAL)} | pieces
    tokenizer = made(pieces, space_prefix=prefix)
    expected = []
    for symbol in plainly(pieces, (("▁" if prefix else "") + text.replace(" ", "▁")) if text else ""):
        if symbol in pieces:
            expected.append(tokenizer.tokens.index(symbol, len(FIRST)))
        else:
            expected += [len(FIRST) - 256 + byte for byte in symbol.encode()]
    # An unused piece may have been made in two ways; both halves count as they were made last, as in SentencePiece.
    if not any(kind == UNUSED for _, kind in pieces.values()):
        assert tokenizer.encode(text).tolist() == expected
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_an_unused_piece_is_taken_apart() -> None:
    pieces = {"a": (0, NORMAL), "b": (0, NORMAL), "ab": (-1, UNUSED), "aba": (-2, NORMAL)}
    tokenizer = made(pieces, space_prefix=False)
    assert [tokenizer.token_name(n) for n in tokenizer.encode("aba").tolist()] == ["aba"]
    assert [tokenizer.token_name(n) for n in tokenizer.encode("ab").tolist()] == ["a", "b"]


def test_the_leftmost_pair_of_equals_wherever_it_is() -> None:
    """No list of merges says this: here (a, aa) comes first, there (aa, a)."""
    pieces = {"a": (0, NORMAL), "x": (0, NORMAL), "aa": (-1, NORMAL), "aaa": (-2, NORMAL), "xa": (0, NORMAL)}
    tokenizer = made(pieces, space_prefix=False)
    names = [tokenizer.token_name(n) for n in tokenizer.encode("aaaaa").tolist()]
    assert names == plainly(pieces, "aaaaa") == ["aa", "aaa"]
    assert [tokenizer.token_name(n) for n in tokenizer.encode("xaaaaa").tolist()] == plainly(pieces, "xaaaaa")


NAMES = "▁,h,e,l,o,he,ll,llo,hello,▁hello,▁w,漢,é"
WORDS = made({piece: (-number, NORMAL) for number, piece in enumerate(NAMES.split(","))})


@given(text=TEXTS)
def test_any_text_comes_back(text: str) -> None:
    ids = WORDS.encode(text)
    assert WORDS.decode(ids) == text.replace("▁", " ")
    assert not set(ids.tolist()) & set(WORDS.special_tokens.values())


def test_special_and_defined_tokens() -> None:
    begin, end, tool = 1, 2, 3
    plain = WORDS.encode("<s>").tolist()
    assert begin not in plain
    assert WORDS.encode("hello", frame=True).tolist() == [begin, *WORDS.encode("hello").tolist()]
    assert WORDS.encode_prompt("hello").tolist() == [begin, *WORDS.encode("hello").tolist()]
    ids = WORDS.encode("<s>hello</s>", specials=True).tolist()
    assert ids == [begin, *WORDS.encode("hello").tolist(), end]
    assert WORDS.encode("<tool call>").tolist() == [*WORDS.encode(" ").tolist()[:1], tool]
    assert WORDS.decode(ids) == "hello"
    both = made({}, adds_end=True, adds_begin=False)
    assert both.encode("", frame=True).tolist() == [end]


@given(pieces=PIECES)
def test_survives_a_run_folder(pieces: dict[str, tuple[int, int]]) -> None:
    tokenizer = made(pieces, space_prefix=False, adds_end=True, pad=0, chat_template="{{ 1 }}")
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    assert isinstance(again, SentencePieceTokenizer)
    assert again.to_json() == tokenizer.to_json()
    assert again.encode("ab a<s>").tolist() == tokenizer.encode("ab a<s>").tolist()


def metadata(**changes: Any) -> dict[str, Any]:
    tokens, scores, types = (list(column) for column in zip(*FIRST, strict=True))
    entries: dict[str, Any] = {"model": "llama", "tokens": tokens, "scores": scores, "token_type": types}
    entries |= {"bos_token_id": 1, "eos_token_id": 2, "padding_token_id": 0} | changes
    return {f"tokenizer.ggml.{name}": value for name, value in entries.items()} | {"tokenizer.chat_template": "{{ 2 }}"}


def test_from_gguf_metadata() -> None:
    tokenizer = tokenizer_from_gguf(metadata())
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert (tokenizer.begin_id, tokenizer.end_ids, tokenizer.pad_id) == (1, (2,), 0)
    assert (tokenizer.space_prefix, tokenizer.adds_begin, tokenizer.adds_end) == (True, True, False)
    assert tokenizer.chat_template == "{{ 2 }}"
    other = tokenizer_from_gguf(metadata(add_space_prefix=False, add_bos_token=False, add_eos_token=True))
    assert isinstance(other, SentencePieceTokenizer)
    assert (other.space_prefix, other.adds_begin, other.adds_end) == (False, False, True)
    with pytest.raises(TokenError, match="no token 260"):
        tokenizer.token_name(260)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.0]}, "1 scores"),
        ({"scores": [float("nan")] * 260}, "finite score"),
        ({"scores": [True] * 260}, "finite score"),
        ({"scores": None}, "without scores"),
        ({"token_type": [9] * 260}, "type from 1 to 6"),
        ({"token_type": [1] * 260}, "no token for the byte 0x00"),
        ({"tokens": [""] * 260}, "a token is a text"),
        ({"tokens": ["\ud800"] * 260}, "lone surrogate"),
        ({"bos_token_id": 260}, "not an id"),
        ({"eos_token_id": "x"}, "not an id"),
        ({"precompiled_charsmap": [1, 2]}, "changes texts"),
        ({"remove_extra_whitespaces": True}, "changes texts"),
    ],
)
def test_damaged_metadata(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tokenizer_from_gguf(metadata(**changes))


def test_other_descriptions() -> None:
    with pytest.raises(DataError, match="load the GGUF file again"):
        SentencePieceTokenizer.from_json({"name": "sentencepiece"})
