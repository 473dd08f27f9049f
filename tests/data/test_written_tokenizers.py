"""Tokenizers as a ``tokenizer.json``: the same ids and texts as before, by the library itself, or a refusal."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from minitrain.data import (
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    load_pretrained_tokenizer,
    save_pretrained_tokenizer,
    tokenizer_from_json,
    train_bpe_tokenizer,
)
from minitrain.data.text.as_pretrained import as_pretrained
from minitrain.errors import DataError
from minitrain.generation.text.vocabulary import end_tokens
from tests.helpers.texts.adversarial import TEXTS, TRAINING
from tests.helpers.texts.tokenizers_of_others import KINDS, described

CHARACTERS = CharTokenizer.from_text("ab \n\r\x00é漢😀'\u0301\u2028")


@cache
def tokenizers() -> dict[str, Tokenizer]:
    return {
        "char": CHARACTERS,
        "byte": ByteTokenizer(),
        "bpe": train_bpe_tokenizer([TRAINING], vocab_size=420),
        "bpe without specials": train_bpe_tokenizer([TRAINING], vocab_size=300, special_tokens=()),
    }


@cache
def library(name: str) -> Any:
    made = Library.from_str(json.dumps(as_pretrained(tokenizers()[name]).to_json()["tokenizer"]))
    made.encode_special_tokens = True  # as every tokenizer of minitrain does unless it is asked
    return made


@pytest.mark.parametrize("name", ["byte", "bpe", "bpe without specials"])
@given(text=TEXTS | st.text() | st.text("<bos>eu", max_size=12))
def test_the_library_makes_the_same_ids(name: str, text: str) -> None:
    check_text(name, text)


@given(text=st.text(CHARACTERS.characters))
def test_the_library_makes_the_same_characters(text: str) -> None:
    check_text("char", text)


def check_text(name: str, text: str) -> None:
    tokenizer = tokenizers()[name]
    ids = tokenizer.encode(text).tolist()
    assert library(name).encode(text).ids == ids
    assert as_pretrained(tokenizer).encode(text).tolist() == ids
    assert library(name).decode(ids) == tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", ["char", "byte", "bpe", "bpe without specials"])
@given(data=st.data())
def test_any_ids_have_the_same_text(name: str, data: st.DataObject) -> None:
    tokenizer = tokenizers()[name]
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    again = as_pretrained(tokenizer)
    assert library(name).decode(ids) == again.decode(ids) == tokenizer.decode(ids)
    assert again.token_bytes() == tokenizer.token_bytes()
    assert again.vocab_size == tokenizer.vocab_size
    assert again.end_ids == end_tokens(tokenizer)


@given(text=st.text(CHARACTERS.characters), unknown=st.characters(exclude_characters=CHARACTERS.characters))
def test_an_unknown_character_is_refused_by_both(text: str, unknown: str) -> None:
    if 0xD800 <= ord(unknown) < 0xE000:
        return
    with pytest.raises(DataError, match="not among the 12"):
        CHARACTERS.encode(text + unknown)
    with pytest.raises(DataError, match=r"not among the 12 tokens of this vocabulary, which has no unknown token"):
        as_pretrained(CHARACTERS).encode(text + unknown + text)
    with pytest.raises(Exception, match="WordLevel error"):
        library("char").encode(text + unknown)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_of_others_is_written_back(kind: str, tmp_path: Path) -> None:
    names = list(PretrainedTokenizer(described(kind)).special_tokens)
    roles: dict[str, Any] = {"begin": names[0], "end": names[1:], "pad": names[1]}
    tokenizer = PretrainedTokenizer(described(kind), **roles, chat_template="{{ 'é' }}")
    save_pretrained_tokenizer(tokenizer, tmp_path, longest=7)
    assert load_pretrained_tokenizer(tmp_path).to_json() == tokenizer.to_json()
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert settings["model_max_length"] == 7
    assert "split_special_tokens" not in settings


@pytest.mark.parametrize("name", ["char", "byte", "bpe"])
def test_a_written_one_survives_a_folder(name: str, tmp_path: Path) -> None:
    save_pretrained_tokenizer(tokenizers()[name], tmp_path)
    again = load_pretrained_tokenizer(tmp_path)
    assert again.to_json() == as_pretrained(tokenizers()[name]).to_json()
    assert tokenizer_from_json(again.to_json()).encode("ab").tolist() == tokenizers()[name].encode("ab").tolist()
    assert again.encode_prompt("ab").tolist() == tokenizers()[name].encode("ab").tolist()
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    assert generation == (
        {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        if name == "bpe"
        else {"bos_token_id": None, "eos_token_id": None}
    )


class Own:
    """A tokenizer that a user wrote."""

    vocab_size = 1

    def __getattr__(self, name: str) -> Any:
        return lambda *_: pytest.fail(f"{name} was used")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    surrogates = CharTokenizer("a\ud800")
    clash = BPETokenizer([("t", "h")], ["<pad>", "th"])
    bytes_ = [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    sentencepiece = SentencePieceTokenizer(*zip(*bytes_, strict=True))
    ordinary = PretrainedTokenizer(described("gpt-2"), pad="a")

    for tokenizer, message in (
        (surrogates, "halves of surrogate pairs"),
        (clash, "the special token 'th' and a piece of text have the same"),
        (sentencepiece, "no SentencePiece rule.*a GGUF file holds"),
        (ordinary, "its pad_token, 'a', is an ordinary token"),
        (Own(), "no Own$"),
    ):
        with pytest.raises(DataError, match=message):
            save_pretrained_tokenizer(tokenizer, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_an_ordinary_token_may_end_a_text(tmp_path: Path) -> None:
    """It is no special token for transformers, but ends a text there too."""
    tokenizer = PretrainedTokenizer(described("gpt-2"), end=["a", "<|im_end|>"])
    save_pretrained_tokenizer(tokenizer, tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["eos_token"] is None
    assert load_pretrained_tokenizer(tmp_path).end_ids == tokenizer.end_ids
