r"""Tokenizers of GGUF files: the ``tokenizer.ggml.*`` metadata as a ``tokenizer.json``.

A GGUF file names its pre-tokenizer, the pattern that splits a text into words, and does not contain it. So only names
in the table below can be loaded; their patterns are those of the original models. (llama.cpp leaves out what some
originals do before the pattern, such as Unicode normalization for Qwen2; here the original counts.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import DataError, printable
from .pretrained import PretrainedTokenizer
from .pretrained_checks import LARGEST_VOCABULARY
from .sentencepiece import SentencePieceTokenizer

_PREFIX = "tokenizer.ggml."
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # token types; 1 is a normal token

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(False)]}


_DIGITS = {"type": "Digits", "individual_digits": True}
# Name -> (normalizer, pre-tokenizer, whether a whole word that is a token needs no merges).
_WORDS: dict[str, tuple[dict[str, Any] | None, dict[str, Any], bool]] = {
    "gpt-2": (None, _byte_level(True), False),
    "smollm": (None, {"type": "Sequence", "pretokenizers": [_DIGITS, _byte_level(True)]}, False),
    "llama-bpe": (None, _split(_LLAMA), True),
    "qwen2": ({"type": "NFC"}, _split(_QWEN), False),
}
PRE_TOKENIZERS = tuple(_WORDS)
"""The values of ``tokenizer.ggml.pre`` that can be loaded."""


def tokenizer_from_gguf(metadata: Mapping[str, Any]) -> PretrainedTokenizer | SentencePieceTokenizer:
    """The tokenizer that the metadata of a GGUF file describes.

    Args:
        metadata: the ``tokenizer.*`` entries: plain Python values and lists by their names.

    Raises:
        DataError: if entries are missing, damaged or contradict each other, or the pre-tokenizer or the kind of
            tokenizer is not one that minitrain can do exactly.
    """
    kind = metadata.get(_PREFIX + "model")
    if kind == "llama":
        return _sentencepiece(metadata)
    if kind == "gpt2":
        return _byte_level_bpe(metadata)
    raise DataError(
        f"the GGUF file has a tokenizer of kind {_short(kind)}; minitrain knows 'gpt2', which is byte-level BPE, and "
        "'llama', which is SentencePiece's: use the tokenizer.json of the original model"
    )


def _byte_level_bpe(metadata: Mapping[str, Any]) -> PretrainedTokenizer:
    words = metadata.get(_PREFIX + "pre")
    if not isinstance(words, str) or words not in _WORDS:
        raise DataError(
            f"the GGUF file names the pre-tokenizer {_short(words)}, whose pattern is unknown here; known are "
            f"{', '.join(_WORDS)}: use the tokenizer.json of the original model"
        )
    tokens = _strings(metadata, "tokens", LARGEST_VOCABULARY)
    merges = _strings(metadata, "merges", 4 * LARGEST_VOCABULARY)
    kinds = metadata.get(_PREFIX + "token_type", [1] * len(tokens))
    if not isinstance(kinds, list) or len(kinds) != len(tokens) or not all(type(k) is int for k in kinds):
        raise DataError("tokenizer.ggml.token_type is not a list of one integer for each token: the file is damaged")
    if len(set(tokens)) < len(tokens):
        raise DataError("tokenizer.ggml.tokens has a token twice, so that its id is not known: the file is damaged")
    if bad := next((merge for merge in merges if merge.count(" ") != 1), None):
        raise DataError(f"tokenizer.ggml.merges: {_short(bad)} is not a pair of tokens: the file is damaged")
    normalizer, pre_tokenizer, whole_words = _WORDS[words]
    begin = _role(metadata, "bos", tokens)
    adds_begin = metadata.get(_PREFIX + "add_bos_token", words == "llama-bpe") is True and begin is not None
    roles = [_role(metadata, name, tokens) for name in ("eos", "eot", "eom")]
    description = {
        "added_tokens": [
            _added(number, token, special=kind in (_CONTROL, _UNKNOWN))
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind in (_CONTROL, _UNKNOWN, _USER_DEFINED)
        ],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": _begin_with(begin, tokens) if adds_begin else None,
        "decoder": _byte_level(True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": whole_words,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in merges],
        },
    }
    template = metadata.get("tokenizer.chat_template")
    return PretrainedTokenizer(
        description,
        begin=begin,
        end=[name for name in roles if name is not None],
        pad=_role(metadata, "padding", tokens),
        chat_template=template,
    )


def _sentencepiece(metadata: Mapping[str, Any]) -> SentencePieceTokenizer:
    if metadata.get(_PREFIX + "precompiled_charsmap") or metadata.get(_PREFIX + "remove_extra_whitespaces") is True:
        raise DataError(
            "this SentencePiece tokenizer changes texts before it splits them, which minitrain does not do: use the "
            "tokenizer.json of the original model"
        )
    tokens = _strings(metadata, "tokens", LARGEST_VOCABULARY)
    scores, types = metadata.get(_PREFIX + "scores"), metadata.get(_PREFIX + "token_type")
    if not isinstance(scores, list) or not isinstance(types, list):
        raise DataError("the GGUF file has a SentencePiece tokenizer without scores or token types: it is damaged")
    ids = {role: metadata.get(f"{_PREFIX}{role}_token_id") for role in ("bos", "eos", "eot", "eom", "padding")}
    return SentencePieceTokenizer(
        tokens,
        scores,
        types,
        space_prefix=metadata.get(_PREFIX + "add_space_prefix", True) is not False,
        adds_begin=metadata.get(_PREFIX + "add_bos_token", True) is not False,
        adds_end=metadata.get(_PREFIX + "add_eos_token", False) is True,
        begin=ids["bos"],
        end=[number for role in ("eos", "eot", "eom") if (number := ids[role]) is not None],
        pad=ids["padding"],
        chat_template=metadata.get("tokenizer.chat_template"),
    )


def _strings(metadata: Mapping[str, Any], name: str, most: int) -> list[str]:
    values = metadata.get(_PREFIX + name)
    if not isinstance(values, list) or len(values) > most or not all(isinstance(value, str) for value in values):
        raise DataError(f"{_PREFIX}{name} is not a list of at most {most:,} strings: the file is damaged")
    return values


def _role(metadata: Mapping[str, Any], role: str, tokens: list[str]) -> str | None:
    key = f"{_PREFIX}{role}_token_id"
    if (number := metadata.get(key)) is None:
        return None
    if type(number) is not int or not 0 <= number < len(tokens):
        raise DataError(f"{key} is {_short(number)}, which is not an id of its {len(tokens)} tokens: it is damaged")
    return tokens[number]


def _added(number: int, content: str, *, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": number, "content": content, **flags}


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
