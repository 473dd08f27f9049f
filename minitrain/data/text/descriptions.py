"""Parts of a ``tokenizer.json`` that minitrain writes itself: byte-level BPE, and the tokens that are added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def byte_level(use_regex: bool) -> dict[str, Any]:
    """The step that writes bytes as letters; with ``use_regex`` it splits a text into the words of GPT-2 first."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def added_token(number: int, content: str, *, special: bool) -> dict[str, Any]:
    """A token that is looked for in the text itself, before it is split."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": number, "content": content, **flags}


def byte_level_bpe(
    vocab: Mapping[str, int],
    merges: Sequence[Sequence[str]],
    *,
    added: Sequence[Mapping[str, Any]] = (),
    normalizer: Mapping[str, Any] | None = None,
    words: Mapping[str, Any] | None = None,
    post_processor: Mapping[str, Any] | None = None,
    whole_words: bool = False,
) -> dict[str, Any]:
    """The ``tokenizer.json`` of byte-level BPE.

    Args:
        vocab: ids of the pieces, in the letters of `byte_letters`, and of the added tokens.
        merges: pairs of pieces to join, in order of priority.
        added: see `added_token`.
        normalizer: what changes a text before it is split.
        words: the step that splits a text into words; GPT-2's by default.
        post_processor: what puts tokens around a text.
        whole_words: whether a word that is a piece needs no merges.
    """
    return {
        "added_tokens": list(added),
        "normalizer": normalizer,
        "pre_tokenizer": byte_level(True) if words is None else words,
        "post_processor": post_processor,
        "decoder": byte_level(True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": whole_words,
            "vocab": dict(vocab),
            "merges": [list(pair) for pair in merges],
        },
    }
