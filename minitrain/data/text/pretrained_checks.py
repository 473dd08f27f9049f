"""Checks of a ``tokenizer.json`` of others: a list of known parts, each with its settings, and bounds on all of it.

The ``tokenizers`` library executes the file. Some of what it can execute is refused here: parts that draw random
numbers, that can make a text grow without bound, or whose binary data could crash the library. Any other part that is
not on the list is refused too, because nothing is known about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import DataError, printable

LARGEST_FILE = 64_000_000  # bytes
MOST_CONTAINERS = 4 << 20  # merges are lists in newer files
LARGEST_VOCABULARY = 1 << 20
_LONGEST_TOKEN = 10_000  # characters
_LONGEST_PATTERN = 4_000
_MOST_REPETITIONS = 1_000  # product of the counts {n,m} of a pattern: the library writes them out
_DEEPEST = 8  # sequences inside sequences
_MOST_PARTS = 64
_MOST_GROWTH = 64  # times that a text may grow by replacements

Types = tuple[type, ...]
_FLAG: Types = (bool,)
_TEXT: Types = (str,)
_COUNT: Types = (int,)
_BEHAVIORS = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"}
_BYTE_LEVEL: dict[str, Types] = {"add_prefix_space": _FLAG, "trim_offsets": _FLAG, "use_regex": _FLAG}
_METASPACE: dict[str, Types] = {
    "replacement": _TEXT,
    "add_prefix_space": _FLAG,
    "prepend_scheme": _TEXT,
    "split": _FLAG,
    "str_rep": _TEXT,
}

# Kind of part -> its settings -> their types. "pattern" and lists of parts are checked by functions of their own.
_PARTS: dict[str, dict[str, dict[str, Types]]] = {
    "normalizer": {
        **{name: {} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel")},
        "BertNormalizer": {
            "clean_text": _FLAG,
            "handle_chinese_chars": _FLAG,
            "strip_accents": (bool, type(None)),
            "lowercase": _FLAG,
        },
        "Strip": {"strip_left": _FLAG, "strip_right": _FLAG},
        "Prepend": {"prepend": _TEXT},
        "Replace": {"pattern": (dict,), "content": _TEXT},
        "Sequence": {"normalizers": (list,)},
    },
    "pre_tokenizer": {
        "ByteLevel": _BYTE_LEVEL,
        **{name: {} for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer")},
        "Digits": {"individual_digits": _FLAG},
        "Punctuation": {"behavior": _TEXT},
        "Metaspace": _METASPACE,
        "Split": {"pattern": (dict,), "behavior": _TEXT, "invert": _FLAG},
        "Sequence": {"pretokenizers": (list,)},
    },
    "post_processor": {
        "ByteLevel": _BYTE_LEVEL,
        "TemplateProcessing": {"single": (list,), "pair": (list,), "special_tokens": (dict,)},
        "BertProcessing": {"sep": (list,), "cls": (list,)},
        "RobertaProcessing": {"sep": (list,), "cls": (list,), "trim_offsets": _FLAG, "add_prefix_space": _FLAG},
        "Sequence": {"processors": (list,)},
    },
    "decoder": {
        "ByteLevel": _BYTE_LEVEL,
        **{name: {} for name in ("ByteFallback", "Fuse")},
        "WordPiece": {"prefix": _TEXT, "cleanup": _FLAG},
        "Metaspace": _METASPACE,
        "Replace": {"pattern": (dict,), "content": _TEXT},
        "Strip": {"content": _TEXT, "start": _COUNT, "stop": _COUNT},
        "Sequence": {"decoders": (list,)},
    },
}
INNER = ("normalizers", "pretokenizers", "processors", "decoders")
"""Names of the lists of parts in a sequence."""
_MODELS: dict[str, dict[str, Types]] = {
    "BPE": {
        "dropout": (type(None),),  # it would draw random numbers
        "unk_token": (str, type(None)),
        "continuing_subword_prefix": (str, type(None)),
        "end_of_word_suffix": (str, type(None)),
        "fuse_unk": _FLAG,
        "byte_fallback": _FLAG,
        "ignore_merges": _FLAG,
        "vocab": (dict,),
        "merges": (list,),
    },
    "WordPiece": {
        "unk_token": _TEXT,
        "continuing_subword_prefix": _TEXT,
        "max_input_chars_per_word": _COUNT,
        "vocab": (dict,),
    },
    "WordLevel": {"unk_token": _TEXT, "vocab": (dict,)},
}
_ADDED: dict[str, Types] = {
    "id": _COUNT,
    "content": _TEXT,
    "single_word": _FLAG,
    "lstrip": _FLAG,
    "rstrip": _FLAG,
    "normalized": _FLAG,
    "special": _FLAG,
}
_TOP = {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"}
_TOP |= {"decoder", "model"}


def checked_description(description: object) -> dict[str, Any]:
    """The parts of a ``tokenizer.json``, checked, without truncation and padding.

    Args:
        description: the parsed JSON of the file.

    Raises:
        DataError: naming what is damaged, unknown or out of bounds.
    """
    if not isinstance(description, dict) or "model" not in description:
        raise DataError("this is not a tokenizer.json: it needs a model; give the file that tokenizers wrote")
    if unknown := sorted(set(map(str, description)) - _TOP):
        raise DataError(f"tokenizer.json has an unknown entry {_short(unknown[0])}: it is damaged, or of a newer kind")
    largest = _check_model(description["model"])
    _check_added(description.get("added_tokens") or [], largest)
    for kind in _PARTS:
        if (part := description.get(kind)) is not None:
            budget = _Budget()
            _check_part(kind, part, budget, 1)
    kept = {name: description.get(name) for name in _TOP - {"version", "truncation", "padding"}}
    kept["added_tokens"] = kept["added_tokens"] or []
    return {"version": "1.0", "truncation": None, "padding": None, **kept}


class _Budget:
    """The bound on the parts of one kind together."""

    def __init__(self) -> None:
        self.parts, self.growth = 0, 1.0


def _check_part(kind: str, part: object, budget: _Budget, depth: int) -> None:
    known = _PARTS[kind]
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise DataError(f"tokenizer.json: the {kind} {_short(part)} is not an object with a type: it is damaged")
    name = part["type"]
    if name not in known:
        raise DataError(
            f"tokenizer.json has a {kind} {_short(name)}, which minitrain does not know; it knows {', '.join(known)}"
        )
    budget.parts += 1
    if depth > _DEEPEST or budget.parts > _MOST_PARTS:
        raise DataError(f"tokenizer.json: its {kind} has more than {_MOST_PARTS} parts or is nested too deep")
    where = f"{kind} {name}"
    _check_fields(where, {key: value for key, value in part.items() if key != "type"}, known[name])
    if "pattern" in part:
        _check_pattern(where, part["pattern"])
    if part.get("behavior", "Removed") not in _BEHAVIORS:
        raise DataError(f"tokenizer.json: {where} has an unknown behavior {_short(part['behavior'])}")
    for key in ("content", "prepend", "prefix", "replacement"):
        if len(part.get(key, "")) > _LONGEST_TOKEN:
            raise DataError(f"tokenizer.json: {where}: {key} has more than {_LONGEST_TOKEN:,} characters")
    if kind == "normalizer" and name == "Replace":
        # A pattern may match a single character, and an empty one matches between all of them.
        budget.growth *= max(1, len(part["content"].encode()) + ("Regex" in part["pattern"]))
        if budget.growth > _MOST_GROWTH:
            raise DataError(f"tokenizer.json: its replacements could make a text over {_MOST_GROWTH} times as long")
    for key in set(INNER) & set(part):
        for inner in part[key]:
            _check_part(kind, inner, budget, depth + 1)


def _check_pattern(where: str, pattern: Mapping[str, object]) -> None:
    match pattern:
        case {"String": str(text)} if len(pattern) == 1 and text:
            if len(text) > _LONGEST_PATTERN:
                raise DataError(f"tokenizer.json: the pattern of {where} has more than {_LONGEST_PATTERN:,} characters")
        case {"Regex": str(text)} if len(pattern) == 1 and text:
            repetitions = 1
            for count in re.findall(r"\{\d*,?(\d+),?\}", text):
                repetitions *= max(1, int(count[:9]))
            if len(text) > _LONGEST_PATTERN or repetitions > _MOST_REPETITIONS:
                raise DataError(
                    f"tokenizer.json: the pattern of {where} has {len(text):,} characters and repeats up to "
                    f"{repetitions:,} times; at most {_LONGEST_PATTERN:,} and {_MOST_REPETITIONS:,} are allowed"
                )
        case _:
            raise DataError(f"tokenizer.json: the pattern of {where} is {_short(pattern)}, not a String or a Regex")


def _check_model(model: object) -> int:
    """Check the vocabulary; returns the highest id."""
    if not isinstance(model, dict):
        raise DataError("tokenizer.json: its model is not an object: it is damaged")
    name = model.get("type", "BPE" if "merges" in model else None)
    if not isinstance(name, str) or name not in _MODELS:
        raise DataError(
            f"tokenizer.json has a model of type {_short(name)}; minitrain knows {', '.join(_MODELS)}, and no other "
            "can be loaded without a change of its tokens"
        )
    _check_fields(f"model {name}", {k: v for k, v in model.items() if k != "type"}, _MODELS[name])
    vocab = model.get("vocab")
    if not vocab or len(vocab) > LARGEST_VOCABULARY:
        raise DataError(f"tokenizer.json: its vocabulary needs 1 to {LARGEST_VOCABULARY:,} tokens")
    for token, number in vocab.items():
        if type(number) is not int or not 0 <= number < LARGEST_VOCABULARY or len(token) > _LONGEST_TOKEN:
            raise DataError(
                f"tokenizer.json: the token {_short(token)} has id {_short(number)}; an id is an integer from 0 to "
                f"{LARGEST_VOCABULARY - 1}, and a token has at most {_LONGEST_TOKEN:,} characters"
            )
    if len(set(vocab.values())) < len(vocab):
        raise DataError("tokenizer.json: two tokens have one id: it is damaged")
    for merge in model.get("merges", ()):
        match merge:
            case str(text) if text.count(" ") == 1:
                pass
            case [str(), str()]:
                pass
            case _:
                raise DataError(f"tokenizer.json: the merge {_short(merge)} is not a pair of tokens: it is damaged")
    unknown = model.get("unk_token")
    if unknown is not None and unknown not in vocab and name != "WordLevel":  # which refuses unknown words then
        raise DataError(f"tokenizer.json: the unknown token {_short(unknown)} is not in the vocabulary")
    return int(max(vocab.values()))


def _check_added(added: object, largest: int) -> None:
    if not isinstance(added, list) or len(added) > LARGEST_VOCABULARY:
        raise DataError("tokenizer.json: its added_tokens are not a list of at most a million: it is damaged")
    for token in added:
        if not isinstance(token, dict) or "id" not in token or "content" not in token:
            raise DataError(f"tokenizer.json: the added token {_short(token)} has no id and content: it is damaged")
        _check_fields("an added token", token, _ADDED)
        if not 0 <= token["id"] <= largest + len(added) or not 0 < len(token["content"]) <= _LONGEST_TOKEN:
            raise DataError(f"tokenizer.json: the added token {_short(token)} is out of range: it is damaged")
    contents = {token["content"] for token in added}
    if len({token["id"] for token in added}) < len(added) or len(contents) < len(added):
        raise DataError("tokenizer.json: two added tokens have one id or one content: it is damaged")


def _check_fields(where: str, fields: Mapping[str, object], known: Mapping[str, Types]) -> None:
    for name, value in fields.items():
        if name not in known:
            raise DataError(f"tokenizer.json: {where} has an unknown setting {_short(name)}")
        if type(value) not in known[name]:
            raise DataError(f"tokenizer.json: {where}: {name} is {_short(value)}, which is of the wrong type")
        if type(value) is int and not 0 <= value < 1 << 31:
            raise DataError(f"tokenizer.json: {where}: {name}={value} is out of range")


def _short(value: object) -> str:
    text = printable(repr(value)[:200])
    return text if len(text) <= 60 else f"{text[:60]}…"
