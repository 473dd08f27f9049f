"""A tokenizer as the ``tokenizer.*`` metadata of a GGUF file, in the types that llama.cpp expects.

What is written is read again and compared with the tokenizer. So GGUF holds exactly what it does, or it is refused: the
parts of a ``tokenizer.json`` that GGUF has no word for cannot get lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import DataError
from .as_pretrained import as_pretrained
from .byte_letters import byte_letters
from .gguf_vocabulary import PREFIX, WORDS, padding_token, tokenizer_from_gguf
from .pretrained import PretrainedTokenizer, parts_of
from .sentencepiece import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, SentencePieceTokenizer
from .tokenizers import Tokenizer

_ENDS = ("eos", "eot", "eom")


def gguf_from_tokenizer(tokenizer: Tokenizer, rows: int) -> dict[str, Any]:
    """The metadata that describes a tokenizer.

    Args:
        tokenizer: byte-level BPE, SentencePiece's BPE, or bytes.
        rows: of the model's embedding. llama.cpp takes the number of tokens for it, so rows without a token get an
            unused one.

    Returns:
        Texts, truth values, uint32 ids, an int32 or float32 array for a list of numbers, and lists of texts, by name.

    Raises:
        DataError: if GGUF cannot say exactly what the tokenizer does, or it has more tokens than the model has rows.
    """
    if tokenizer.vocab_size > rows:
        raise DataError(f"it has {tokenizer.vocab_size:,} tokens, and the model has rows for {rows:,}")
    if isinstance(tokenizer, SentencePieceTokenizer):
        metadata = _sentencepiece(tokenizer, rows)
        same = _facts(_read(metadata)) == _facts(tokenizer)
    else:
        pretrained = as_pretrained(tokenizer)
        metadata = _byte_level_bpe(pretrained, rows)
        again = _read(metadata)
        same = _meaning(again) == _meaning(pretrained) and not _spelled(again, pretrained)
    if not same:
        raise DataError("GGUF does not hold all of its settings, so that some texts would get other tokens")
    return metadata


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The ``tokenizer.*`` entries among some metadata, as `tokenizer_from_gguf` takes them."""
    return {
        key: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        for key, value in metadata.items()
        if key.startswith("tokenizer.")
    }


def _read(metadata: Mapping[str, Any]) -> Any:
    return tokenizer_from_gguf(plain_metadata(metadata))


def _common(tokenizer: Any, model: str, pre: str, tokens: list[str], types: list[int], rows: int) -> dict[str, Any]:
    """The metadata of both kinds of tokenizers."""
    ends = tokenizer.end_ids
    if len(ends) > len(_ENDS):
        raise DataError(f"GGUF names {len(_ENDS)} tokens at most that end a text; there are {len(ends)}")
    roles = {"bos": tokenizer.begin_id, **dict(zip(_ENDS, ends, strict=False)), "padding": tokenizer.pad_id}
    padding = range(len(tokens), rows)
    metadata: dict[str, Any] = {
        PREFIX + "model": model,
        PREFIX + "pre": pre,
        PREFIX + "tokens": [*tokens, *map(padding_token, padding)],
        PREFIX + "token_type": np.array([*types, *(UNUSED for _ in padding)], np.int32),
    }
    metadata |= {f"{PREFIX}{role}_token_id": np.uint32(n) for role, n in roles.items() if n is not None}
    if tokenizer.chat_template is not None:
        metadata["tokenizer.chat_template"] = tokenizer.chat_template
    return metadata


def _sentencepiece(tokenizer: SentencePieceTokenizer, rows: int) -> dict[str, Any]:
    metadata = _common(tokenizer, "llama", "default", tokenizer.tokens, tokenizer.types, rows)
    scores = np.zeros(rows, np.float32)
    scores[: tokenizer.vocab_size] = tokenizer.scores
    metadata[PREFIX + "scores"] = scores
    metadata[PREFIX + "add_space_prefix"] = tokenizer.space_prefix
    metadata[PREFIX + "add_bos_token"] = tokenizer.adds_begin and tokenizer.begin_id is not None
    metadata[PREFIX + "add_eos_token"] = tokenizer.adds_end and bool(tokenizer.end_ids)
    if UNKNOWN in tokenizer.types:
        metadata[PREFIX + "unknown_token_id"] = np.uint32(tokenizer.types.index(UNKNOWN))
    return metadata


def _facts(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    """The part that decides the tokens of texts: `to_json`, without flags that do nothing."""
    said = tokenizer.to_json()
    said["flags"] = [tokenizer.space_prefix, *tokenizer.encode("", frame=True).tolist()]
    return said


def _byte_level_bpe(tokenizer: PretrainedTokenizer, rows: int) -> dict[str, Any]:
    description = tokenizer.to_json()["tokenizer"]
    decoder = [part["type"] for part in parts_of(description["decoder"])]
    if description["model"].get("type", "BPE") != "BPE" or decoder != ["ByteLevel"]:
        raise DataError("GGUF holds byte-level BPE and SentencePiece's BPE, and this tokenizer is neither")
    meaning = _meaning(tokenizer)
    words = next((name for name in WORDS if _words(*WORDS[name]) == meaning["words"]), None)
    if words is None:
        raise DataError(
            f"GGUF names the pattern that splits a text into words; this one is none of those with a name here, "
            f"{', '.join(WORDS)}"
        )
    merges = [" ".join(pair) for pair in meaning["merges"]]
    if len(set(merges)) < len(merges):
        raise DataError("it has a pair of merges twice, of which GGUF's readers take the first and others the last")
    names = {number: name for name, number in meaning["vocab"].items()}
    types = dict.fromkeys(names, NORMAL)
    types |= {token["id"]: CONTROL if token.get("special") else USER_DEFINED for token in description["added_tokens"]}
    ids = range(tokenizer.vocab_size)
    metadata = _common(
        tokenizer,
        "gpt2",
        words,
        [names.get(number, padding_token(number)) for number in ids],
        [types.get(number, UNUSED) for number in ids],
        rows,
    )
    metadata[PREFIX + "merges"] = merges
    metadata[PREFIX + "add_bos_token"] = bool(tokenizer.encode("", frame=True).size)
    return metadata


def _meaning(tokenizer: PretrainedTokenizer) -> dict[str, Any]:
    """The part that decides the tokens of texts, in one form, however a ``tokenizer.json`` writes it."""
    description = tokenizer.to_json()["tokenizer"]
    model, added = description["model"], description["added_tokens"]
    vocab = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
    unknown = (model.get("unk_token"), bool(model.get("byte_fallback")), bool(model.get("fuse_unk")))
    if all(letter in vocab for letter in byte_letters()):  # no byte is unknown
        unknown = (None, False, False)
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    tokens = sorted((token["id"], token["content"], *(bool(token.get(flag)) for flag in flags)) for token in added)
    if description["normalizer"] is None and len({normalized for *_, normalized, _ in tokens}) == 1:
        tokens = [(*rest, False, special) for *rest, _, special in tokens]  # nothing is normalized
    return {
        "vocab": vocab,
        "merges": [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model.get("merges", ())],
        "pieces": [model.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix")],
        "unknown": unknown,
        "words": _words(description["normalizer"], description["pre_tokenizer"], bool(model.get("ignore_merges"))),
        "frame": [_framed(part) for part in parts_of(description["post_processor"]) if part["type"] != "ByteLevel"],
        "decoder": [part["type"] for part in parts_of(description["decoder"])],
        "added": tokens,
        "roles": (tokenizer.begin_id, tokenizer.end_ids, tokenizer.pad_id, tokenizer.chat_template),
        "size": tokenizer.vocab_size,
    }


def _words(normalizer: Any, pre_tokenizer: Any, whole_words: bool) -> tuple[Any, ...]:
    """The part that splits a text into words. ``trim_offsets`` changes no token."""
    steps = [{k: v for k, v in part.items() if k != "trim_offsets"} for part in parts_of(pre_tokenizer)]
    steps = [{"use_regex": True, **step} if step["type"] == "ByteLevel" else step for step in steps]
    return parts_of(normalizer), steps, whole_words


def _framed(part: Mapping[str, Any]) -> object:
    """The tokens that a step puts around one text; texts in pairs and types of tokens are not used here."""
    if part["type"] != "TemplateProcessing":
        return part
    ids = {name: token["ids"] for name, token in part["special_tokens"].items()}
    return [ids[one["SpecialToken"]["id"]] if "SpecialToken" in one else "text" for one in part["single"]]


def _spelled(again: PretrainedTokenizer, tokenizer: PretrainedTokenizer) -> bool:
    """Whether a text becomes an added token because GGUF has one list for those and for pieces of text.

    In a ``tokenizer.json``, added tokens may be missing in the vocabulary that words are looked up in.
    """
    description, bytes_of = tokenizer.to_json()["tokenizer"], {letter: n for n, letter in enumerate(byte_letters())}
    for token in description["added_tokens"]:
        name = token["content"]
        if token.get("special") and name not in description["model"]["vocab"] and all(one in bytes_of for one in name):
            text = bytes(bytes_of[one] for one in name).decode("utf-8", "replace")
            if token["id"] in again.encode(text).tolist():
                return True
    return False
