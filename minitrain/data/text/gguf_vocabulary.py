r"""Tokenizers of GGUF files: the ``tokenizer.ggml.*`` metadata as a ``tokenizer.json``.

A GGUF file names its pre-tokenizer, the pattern that splits a text into words, and does not contain it. So only names
in the table below can be loaded; their patterns are those of the original models. (llama.cpp leaves out what some
originals do before the pattern, such as Unicode normalization for Qwen2; here the original counts.)

The list of tokens is as long as the model's embedding. Rows without a token are in it as unused tokens, which are left
out here: no text has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import DataError, printable
from .descriptions import added_token, byte_level, byte_level_bpe
from .pretrained import PretrainedTokenizer
from .pretrained_checks import LARGEST_VOCABULARY
from .sentencepiece import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, SentencePieceTokenizer

PREFIX = "tokenizer.ggml."
_PADDING = re.compile(r"\[PAD\d+\]")

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST


def _split(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level(False)]}


_DIGITS = {"type": "Digits", "individual_digits": True}
# Name -> (normalizer, pre-tokenizer, whether a whole word that is a token needs no merges).
WORDS: dict[str, tuple[dict[str, Any] | None, dict[str, Any], bool]] = {
    "gpt-2": (None, byte_level(True), False),
    "smollm": (None, {"type": "Sequence", "pretokenizers": [_DIGITS, byte_level(True)]}, False),
    "llama-bpe": (None, _split(_LLAMA), True),
    "qwen2": ({"type": "NFC"}, _split(_QWEN), False),
}
PRE_TOKENIZERS = tuple(WORDS)
"""The values of ``tokenizer.ggml.pre`` that can be loaded."""


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> PretrainedTokenizer | SentencePieceTokenizer:
    """The tokenizer that the metadata of a GGUF file describes.

    Args:
        metadata: the ``tokenizer.*`` entries: plain Python values and lists by their names.

    Raises:
        DataError: if entries are missing, damaged or contradict each other, or the pre-tokenizer or the kind of
            tokenizer is not one that minitrain can do exactly.
    """
    kind = metadata.get(PREFIX + "model")
    if kind == "llama":
        return _sentencepiece(metadata)
    if kind == "gpt2":
        return _byte_level_bpe(metadata)
    raise DataError(
        f"the GGUF file has a tokenizer of kind {_short(kind)}; minitrain knows 'gpt2', which is byte-level BPE, and "
        "'llama', which is SentencePiece's: use the tokenizer.json of the original model"
    )


def _byte_level_bpe(metadata: Mapping[str, Any]) -> PretrainedTokenizer:
    words = metadata.get(PREFIX + "pre")
    if not isinstance(words, str) or words not in WORDS:
        raise DataError(
            f"the GGUF file names the pre-tokenizer {_short(words)}, whose pattern is unknown here; known are "
            f"{', '.join(WORDS)}: use the tokenizer.json of the original model"
        )
    tokens = _strings(metadata, "tokens", LARGEST_VOCABULARY)
    merges = _strings(metadata, "merges", 4 * LARGEST_VOCABULARY)
    kinds = metadata.get(PREFIX + "token_type", [1] * len(tokens))
    if not isinstance(kinds, list) or len(kinds) != len(tokens) or not all(type(k) is int for k in kinds):
        raise DataError("tokenizer.ggml.token_type is not a list of one integer for each token: the file is damaged")
    if len(set(tokens)) < len(tokens):
        raise DataError("tokenizer.ggml.tokens has a token twice, so that its id is not known: the file is damaged")
    if bad := next((merge for merge in merges if merge.count(" ") != 1), None):
        raise DataError(f"tokenizer.ggml.merges: {_short(bad)} is not a pair of tokens: the file is damaged")
    empty = {number for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if _is_padding(token, kind)}
    normalizer, pre_tokenizer, whole_words = WORDS[words]
    begin = _role(metadata, "bos", tokens)
    adds_begin = metadata.get(PREFIX + "add_bos_token", words == "llama-bpe") is True and begin is not None
    roles = [_role(metadata, name, tokens) for name in ("eos", "eot", "eom")]
    description = byte_level_bpe(
        {token: number for number, token in enumerate(tokens) if number not in empty},
        [merge.split(" ") for merge in merges],
        added=[
            added_token(number, token, special=kind in (CONTROL, UNKNOWN))
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind in (CONTROL, UNKNOWN, USER_DEFINED)
        ],
        normalizer=normalizer,
        words=pre_tokenizer,
        post_processor=_begin_with(begin, tokens) if adds_begin else None,
        whole_words=whole_words,
    )
    return PretrainedTokenizer(
        description,
        begin=begin,
        end=[name for name in roles if name is not None],
        pad=_role(metadata, "padding", tokens),
        chat_template=metadata.get("tokenizer.chat_template"),
    )


def _sentencepiece(metadata: Mapping[str, Any]) -> SentencePieceTokenizer:
    if metadata.get(PREFIX + "precompiled_charsmap") or metadata.get(PREFIX + "remove_extra_whitespaces") is True:
        raise DataError(
            "this SentencePiece tokenizer changes texts before it splits them, which minitrain does not do: use the "
            "tokenizer.json of the original model"
        )
    tokens = _strings(metadata, "tokens", LARGEST_VOCABULARY)
    scores, types = metadata.get(PREFIX + "scores"), metadata.get(PREFIX + "token_type")
    if not isinstance(scores, list) or not isinstance(types, list):
        raise DataError("the GGUF file has a SentencePiece tokenizer without scores or token types: it is damaged")
    while tokens and len(tokens) == len(scores) == len(types) and _is_padding(tokens[-1], types[-1]):
        tokens, scores, types = tokens[:-1], scores[:-1], types[:-1]
    ids = {role: metadata.get(f"{PREFIX}{role}_token_id") for role in ("bos", "eos", "eot", "eom", "padding")}
    return SentencePieceTokenizer(
        tokens,
        scores,
        types,
        space_prefix=metadata.get(PREFIX + "add_space_prefix", True) is not False,
        adds_begin=metadata.get(PREFIX + "add_bos_token", True) is not False,
        adds_end=metadata.get(PREFIX + "add_eos_token", False) is True,
        begin=ids["bos"],
        end=[number for role in ("eos", "eot", "eom") if (number := ids[role]) is not None],
        pad=ids["padding"],
        chat_template=metadata.get("tokenizer.chat_template"),
    )


def padding_token(number: int) -> str:
    """The name of a row of the model without a token, as llama.cpp's converter writes it; its type is `UNUSED`."""
    return f"[PAD{number}]"


def _is_padding(token: str, kind: object) -> bool:
    return kind == UNUSED and _PADDING.fullmatch(token) is not None


def _strings(metadata: Mapping[str, Any], name: str, most: int) -> list[str]:
    values = metadata.get(PREFIX + name)
    if not isinstance(values, list) or len(values) > most or not all(isinstance(value, str) for value in values):
        raise DataError(f"{PREFIX}{name} is not a list of at most {most:,} strings: the file is damaged")
    return values


def _role(metadata: Mapping[str, Any], role: str, tokens: list[str]) -> str | None:
    key = f"{PREFIX}{role}_token_id"
    if (number := metadata.get(key)) is None:
        return None
    if type(number) is not int or not 0 <= number < len(tokens):
        raise DataError(f"{key} is {_short(number)}, which is not an id of its {len(tokens)} tokens: it is damaged")
    return tokens[number]


def _begin_with(begin: str | None, tokens: list[str]) -> dict[str, Any]:
    """The step that puts the begin token before a text, and before each text of a pair."""
    special = {"SpecialToken": {"id": begin, "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, {"SpecialToken": {"id": begin, "type_id": 1}}, second],
        "special_tokens": {begin: {"id": begin, "ids": [tokens.index(str(begin))], "tokens": [begin]}},
    }


def _short(value: object) -> str:
    return printable(repr(value)[:60])
