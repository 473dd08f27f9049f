"""The tokenizer in a folder of transformers: as ``tokenizer.json``, or for minitrain alone.

A file of our own, ``minitrain_tokenizer.json``, holds the description of a tokenizer that transformers cannot have.
There is no ``tokenizer.json`` then, so that no program splits texts otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..checkpoint.store import Warn
from ..data import Tokenizer, load_pretrained_tokenizer, save_pretrained_tokenizer, tokenizer_from_json
from ..data.text.as_pretrained import as_pretrained
from ..data.text.gguf_metadata import gguf_from_tokenizer
from ..data.text.pretrained_checks import LARGEST_FILE, MOST_CONTAINERS
from ..data.text.pretrained_files import TOKENIZER_FILES
from ..data.text.pretrained_writing import role_ids
from ..data.text.roles import RoleTokens
from ..errors import DataError
from ..files import parse_json, read_file, write_atomically
from .family import Family

OWN_TOKENIZER = "minitrain_tokenizer.json"
ALL_FILES = (*TOKENIZER_FILES, OWN_TOKENIZER)
"""Files that a tokenizer may be in."""


def write_tokenizer(tokenizer: Any, family: Family, folder: Path, longest: int, warn: Warn) -> dict[str, Any]:
    """Write the files of a tokenizer.

    Args:
        tokenizer: any of minitrain's.
        family: of the model beside it.
        folder: the folder to write to.
        longest: the most tokens that the model takes.
        warn: called with a sentence if transformers cannot have it.

    Returns:
        What ``config.json`` says of it.

    Raises:
        FileError: if a file cannot be written.
    """
    try:
        pretrained = as_pretrained(tokenizer)
        if family.words and not _splits_as(pretrained, family.words):
            raise DataError(
                f"for a {family.name}, transformers splits texts by the rule of that model, whatever the file says"
            )
        save_pretrained_tokenizer(tokenizer, folder, longest=longest)
    except DataError as error:
        warn(f"{folder} has no tokenizer for transformers, only one for minitrain: {error}")
        write_atomically(folder / OWN_TOKENIZER, json.dumps(tokenizer.to_json()).encode() + b"\n")
        return role_ids(tokenizer) if isinstance(tokenizer, RoleTokens) else {}
    return role_ids(pretrained)


def _splits_as(tokenizer: Tokenizer, words: str) -> bool:
    """Whether a tokenizer is byte-level BPE with the pre-tokenizer that GGUF calls ``words``, and nothing else."""
    try:
        return bool(gguf_from_tokenizer(tokenizer, tokenizer.vocab_size)["tokenizer.ggml.pre"] == words)
    except DataError:
        return False


def read_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer in a folder.

    Raises:
        DataError: if it is damaged, or minitrain cannot do exactly what it does.
        FileError: if there is none, or it cannot be read.
    """
    path = Path(folder) / OWN_TOKENIZER
    if not path.exists():
        return load_pretrained_tokenizer(folder)
    try:
        return tokenizer_from_json(parse_json(read_file(path, LARGEST_FILE), containers=MOST_CONTAINERS))
    except (ValueError, DataError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
