"""Tokenizers as GGUF metadata: read again they are the same; what GGUF has no word for is refused."""

from __future__ import annotations

import copy
from functools import cache
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
    SentencePieceTokenizer,
    Tokenizer,
    tokenizer_from_gguf,
    train_bpe_tokenizer,
)
from minitrain.data.text.byte_letters import byte_letters
from minitrain.data.text.gguf_metadata import gguf_from_tokenizer, plain_metadata
from minitrain.data.text.sentencepiece import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from minitrain.errors import DataError
from tests.helpers.texts.adversarial import TEXTS, TRAINING
from tests.helpers.texts.tokenizers_of_others import BYTE_LEVEL, SPECIAL, described, gguf_metadata

PIECES = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<tool>", 0.0, USER_DEFINED)]
PIECES += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
PIECES += [(piece, -float(n), NORMAL) for n, piece in enumerate(("▁t", "he", "▁the", "an", "é", "[", "P"))]


def sentencepiece(**settings: Any) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(*zip(*PIECES, strict=True), **settings)


@cache
def tokenizers() -> dict[str, Tokenizer]:
    roles: Any = {"begin": SPECIAL[0], "end": SPECIAL[1:], "pad": SPECIAL[0]}
    of_others = {kind: PretrainedTokenizer(described(kind), **roles) for kind in BYTE_LEVEL}
    return {
        **of_others,
        "byte": ByteTokenizer(),
        "bpe": train_bpe_tokenizer([TRAINING], vocab_size=420),
        "sentencepiece": sentencepiece(begin=1, end=[2], adds_end=True, chat_template="{{ x }}"),
        "sentencepiece, no roles": sentencepiece(space_prefix=False),
    }


@cache
def again(name: str, more_rows: int) -> Any:
    tokenizer = tokenizers()[name]
    return tokenizer_from_gguf(plain_metadata(gguf_from_tokenizer(tokenizer, tokenizer.vocab_size + more_rows)))


@pytest.mark.parametrize("name", tokenizers())
@given(text=TEXTS | st.text(), more=st.sampled_from([0, 3]))
def test_read_again_it_makes_the_same_tokens(name: str, text: str, more: int) -> None:
    """Also if the model has rows without a token."""
    tokenizer: Any = tokenizers()[name]
    text += f"[PAD{tokenizer.vocab_size}]" * (len(text) % 2)  # the name of a row without a token is a text as others
    ids = tokenizer.encode(text)
    assert again(name, more).encode(text).tolist() == ids.tolist()
    assert again(name, more).decode(ids) == tokenizer.decode(ids)
    if name not in ("byte", "bpe"):
        settings = {"specials": True, "frame": True}
        assert again(name, more).encode(text, **settings).tolist() == tokenizer.encode(text, **settings).tolist()
        assert again(name, more).end_ids == tokenizer.end_ids
        assert again(name, more).pad_id == tokenizer.pad_id
    assert again(name, more).token_bytes() == tokenizer.token_bytes()
    assert again(name, more).vocab_size == tokenizer.vocab_size


@pytest.mark.parametrize("kind", BYTE_LEVEL)
def test_metadata_of_others_comes_back(kind: str) -> None:
    given = gguf_metadata(kind)
    found = gguf_from_tokenizer(tokenizer_from_gguf(given), len(given["tokenizer.ggml.tokens"]))
    assert plain_metadata(found) == given | {"tokenizer.ggml.add_bos_token": kind == "llama-bpe"}
    types = {name: getattr(value, "dtype", type(value)) for name, value in found.items()}
    assert types["tokenizer.ggml.token_type"] == np.int32
    assert types["tokenizer.ggml.bos_token_id"] == types["tokenizer.ggml.eos_token_id"] == np.uint32
    assert types["tokenizer.ggml.add_bos_token"] is bool


def test_rows_without_a_token_are_unused_ones() -> None:
    """llama.cpp takes the number of tokens for the rows of the embedding."""
    found = gguf_from_tokenizer(ByteTokenizer(), 259)
    assert found["tokenizer.ggml.tokens"] == [*byte_letters(), "[PAD256]", "[PAD257]", "[PAD258]"]
    assert found["tokenizer.ggml.token_type"].tolist() == [1] * 256 + [5] * 3
    assert found["tokenizer.ggml.merges"] == []
    with pytest.raises(DataError, match="it has 256 tokens, and the model has rows for 255"):
        gguf_from_tokenizer(ByteTokenizer(), 255)


def test_a_vocabulary_with_holes() -> None:
    description = copy.deepcopy(described("gpt-2"))
    description["model"]["vocab"] = {
        token: number + 10 * (number > 300) for token, number in description["model"]["vocab"].items()
    }
    tokenizer = PretrainedTokenizer(description)
    found = gguf_from_tokenizer(tokenizer, 710)
    assert found["tokenizer.ggml.tokens"][301:311] == [f"[PAD{number}]" for number in range(301, 311)]
    read = tokenizer_from_gguf(plain_metadata(found))
    assert read.encode(TRAINING).tolist() == tokenizer.encode(TRAINING).tolist()
    assert read.decode([305]) == ""


def test_other_ways_to_write_the_same() -> None:
    """Merges as texts, a sequence of one step, offsets, and tokens that are normalised by nothing."""
    description = copy.deepcopy(described("gpt-2"))
    description["model"]["merges"] = [" ".join(pair) for pair in description["model"]["merges"]]
    description["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [description["pre_tokenizer"]]}
    description["post_processor"] = {**described("gpt-2")["pre_tokenizer"], "trim_offsets": False}
    description["added_tokens"] = [{**token, "normalized": True} for token in description["added_tokens"]]
    found = gguf_from_tokenizer(PretrainedTokenizer(description), 700)
    assert found["tokenizer.ggml.merges"] == gguf_metadata("gpt-2")["tokenizer.ggml.merges"]


def changed(kind: str, **parts: Any) -> PretrainedTokenizer:
    description = copy.deepcopy(described(kind))
    description["model"] |= parts.pop("model", {})
    return PretrainedTokenizer(description | parts)


def flagged(**flags: bool) -> list[dict[str, Any]]:
    return [{**token, **flags} for token in described("gpt-2")["added_tokens"]]


def without_letter(letter: str, **model: Any) -> PretrainedTokenizer:
    """One that has no token for a byte, as SmolLM2's."""
    vocab = {token: number for token, number in described("gpt-2")["model"]["vocab"].items() if letter not in token}
    merges = [pair for pair in described("gpt-2")["model"]["merges"] if letter not in "".join(pair)]
    return changed("gpt-2", model={"vocab": vocab, "merges": merges, **model})


SPLIT = {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated", "invert": False}
REFUSED: dict[str, tuple[Any, str]] = {
    "characters": (lambda: CharTokenizer("ab"), "this tokenizer is neither"),
    "WordPiece": (lambda: PretrainedTokenizer(described("bert")), "this tokenizer is neither"),
    "byte fallback": (lambda: PretrainedTokenizer(described("sentencepiece-like")), "this tokenizer is neither"),
    "another pattern": (lambda: changed("gpt-2", pre_tokenizer=SPLIT), "none of those with a name here, gpt-2"),
    "a normalizer": (lambda: changed("gpt-2", normalizer={"type": "NFC"}), "none of those with a name"),
    "a space in front": (
        lambda: changed("gpt-2", pre_tokenizer={**described("gpt-2")["pre_tokenizer"], "add_prefix_space": True}),
        "none of those with a name",
    ),
    "whole words": (lambda: changed("gpt-2", model={"ignore_merges": True}), "none of those with a name"),
    "single words": (lambda: changed("gpt-2", added_tokens=flagged(single_word=True)), "some texts would get other"),
    "spaces of tokens": (lambda: changed("gpt-2", added_tokens=flagged(lstrip=True)), "some texts would get other"),
    "a suffix": (lambda: changed("gpt-2", model={"end_of_word_suffix": "~"}), "some texts would get other"),
    "bytes by name": (lambda: without_letter("é", byte_fallback=True), "some texts would get other"),
    "an unknown token": (lambda: without_letter("é", unk_token="a"), "some texts would get other"),
    "an end token": (
        lambda: changed("gpt-2", post_processor={"type": "BertProcessing", "sep": ["<|im_end|>", 2], "cls": ["a", 68]}),
        "some texts would get other",
    ),
    "a begin token without a name": (lambda: PretrainedTokenizer(described("llama-bpe")), "some texts would get other"),
    "a merge twice": (lambda: BPETokenizer([("a", "b"), ("b", "c"), ("a", "b")]), "a pair of merges twice"),
    "many ends": (lambda: PretrainedTokenizer(described("gpt-2"), end=[*SPECIAL, "a"]), "3 tokens at most"),
    "scores in float64": (
        lambda: SentencePieceTokenizer(next(zip(*PIECES, strict=True)), [0.1] * len(PIECES), [p[2] for p in PIECES]),
        "some texts would get other",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_gguf_cannot_say_is_refused(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(DataError, match=message):
        gguf_from_tokenizer(make(), 1000)


def test_a_vocabulary_without_a_byte() -> None:
    """Texts lose it, there and here."""
    tokenizer = without_letter("é")
    again = tokenizer_from_gguf(plain_metadata(gguf_from_tokenizer(tokenizer, 1000)))
    assert again.encode("aé漢").tolist() == tokenizer.encode("aé漢").tolist()


def test_a_text_that_spells_an_added_token() -> None:
    """In a tokenizer.json, words are not looked up among added tokens. In GGUF they are, where whole words count."""
    description = copy.deepcopy(described("llama-bpe"))
    number = max(description["model"]["vocab"].values()) + 1
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    description["added_tokens"].append({"id": number, "content": "quixotic", **flags})
    tokenizer = PretrainedTokenizer(description, begin=SPECIAL[0])
    assert number not in tokenizer.encode("quixotic")
    with pytest.raises(DataError, match="some texts would get other tokens"):
        gguf_from_tokenizer(tokenizer, number + 1)
    description["added_tokens"][-1]["content"] = "<|quixotic|>"
    found = gguf_from_tokenizer(PretrainedTokenizer(description, begin=SPECIAL[0]), number + 1)
    assert found["tokenizer.ggml.pre"] == "llama-bpe"
