"""The tokenizer in a GGUF file: for llama.cpp where GGUF has such a tokenizer, for minitrain alone otherwise.

A setting of our own, ``minitrain.tokenizer``, holds the description of a tokenizer that GGUF has no words for, such as
one of characters. llama.cpp then finds a model without a vocabulary, and never one that splits texts otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...checkpoint.store import Warn
from ...data import Tokenizer, tokenizer_from_gguf, tokenizer_from_json
from ...data.text.bpe import MOST_CONTAINERS
from ...data.text.gguf_metadata import gguf_from_tokenizer, plain_metadata
from ...errors import CheckpointError, DataError
from ...files import parse_json

OWN = "minitrain.tokenizer"
_NONE = {"tokenizer.ggml.model": "none"}


def vocabulary_of(tokenizer: Tokenizer | None, rows: int, warn: Warn) -> dict[str, Any]:
    """The settings that a file needs for a tokenizer.

    Args:
        tokenizer: the tokenizer; ``None`` for a model without one.
        rows: of the model's embedding.
        warn: called with a sentence if llama.cpp will find no tokenizer.

    Raises:
        CheckpointError: if the tokenizer has more tokens than the model has rows.
    """
    if tokenizer is None:
        return _NONE
    check_size(tokenizer, rows)
    try:
        return gguf_from_tokenizer(tokenizer, rows)
    except DataError as error:
        warn(f"the GGUF file has no tokenizer for llama.cpp, only one for minitrain: {error}")
        return _NONE | {OWN: json.dumps(tokenizer.to_json())}


def check_size(tokenizer: Tokenizer, rows: int) -> None:
    """Refuse a tokenizer with tokens that the model does not have.

    Raises:
        CheckpointError: with both numbers.
    """
    if tokenizer.vocab_size > rows:
        raise CheckpointError(
            f"the tokenizer has {tokenizer.vocab_size:,} tokens, but the model has rows for {rows:,}: they do not "
            "belong together, give the tokenizer that the model was trained with"
        )


def read_vocabulary(metadata: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that the settings of a file describe.

    Raises:
        DataError: if there is none, it is damaged, or minitrain cannot do exactly what it does.
    """
    if (own := metadata.get(OWN)) is None:
        return tokenizer_from_gguf(plain_metadata(metadata))
    try:
        return tokenizer_from_json(parse_json(str(own).encode(), containers=MOST_CONTAINERS))
    except ValueError as error:
        raise DataError(f"{OWN} is damaged: {error}") from error


def copied_vocabulary(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a file's tokenizer as they are, for another file; llama.cpp has ids and counts as uint32."""
    return {
        key: np.uint32(value) if type(value) is int else value
        for key, value in metadata.items()
        if key == OWN or key.startswith("tokenizer.")
    }
