"""Writes a tokenizer into a Hugging Face folder, as `pretrained_files` reads it."""

from __future__ import annotations

import json
import os
from typing import Any

from ...errors import DataError
from ...files import make_folder, write_atomically
from .as_pretrained import as_pretrained
from .bpe import BPETokenizer
from .pretrained import PretrainedTokenizer
from .pretrained_files import CONFIG, GENERATION, TOKENIZER
from .roles import RoleTokens
from .tokenizers import Tokenizer


def save_pretrained_tokenizer(
    tokenizer: Tokenizer, folder: str | os.PathLike[str], *, longest: int | None = None
) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``generation_config.json``.

    ``transformers.AutoTokenizer.from_pretrained(folder)`` then makes the tokens of ``tokenizer.encode``, and
    `load_pretrained_tokenizer` the tokenizer itself.

    Args:
        tokenizer: any of minitrain's.
        folder: the folder to write to.
        longest: the most tokens that the model takes.

    Raises:
        DataError: if the files cannot say exactly what the tokenizer does; nothing is written then.
        FileError: if a file cannot be written.
    """
    # A text never encodes to a special token of BPETokenizer. Others need them in texts of their chat template.
    splits = isinstance(tokenizer, BPETokenizer)
    pretrained = as_pretrained(tokenizer)
    files: dict[str, Any] = {
        TOKENIZER: pretrained.to_json()["tokenizer"],
        CONFIG: _settings(pretrained, longest) | ({"split_special_tokens": True} if splits else {}),
        GENERATION: role_ids(pretrained),
    }
    place = make_folder(folder)
    for name, content in files.items():
        write_atomically(place / name, json.dumps(content, indent=None if name == TOKENIZER else 2).encode() + b"\n")


def role_ids(tokenizer: RoleTokens) -> dict[str, Any]:
    """The ids of the tokens that begin, end and pad a text, by transformers' names; ``None`` for none.

    transformers has ids of its own where a file says nothing, which would end texts at any place.
    """
    ends = list(tokenizer.end_ids)
    found: dict[str, Any] = {"bos_token_id": tokenizer.begin_id, "eos_token_id": ends[0] if len(ends) == 1 else ends}
    if not ends:
        found["eos_token_id"] = None
    return found | ({} if tokenizer.pad_id is None else {"pad_token_id": tokenizer.pad_id})


def _settings(tokenizer: PretrainedTokenizer, longest: int | None) -> dict[str, Any]:
    """The content of ``tokenizer_config.json``."""
    special = {number: name for name, number in tokenizer.special_tokens.items()}
    roles = {"bos_token": tokenizer.begin_id, "pad_token": tokenizer.pad_id, "unk_token": None, "eos_token": None}
    for role, number in roles.items():
        if number is not None and number not in special:
            raise DataError(
                f"its {role}, {tokenizer.token_name(number)!r:.80}, is an ordinary token: transformers would make it a "
                "special one and encode texts with it differently"
            )
    if tokenizer.end_ids and tokenizer.end_ids[0] in special:
        roles["eos_token"] = tokenizer.end_ids[0]
    # What has no name is named as such: some classes of transformers would add tokens of their own.
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # what tokenizer.json says, and nothing more
        "clean_up_tokenization_spaces": False,
        **{role: None if number is None else special[number] for role, number in roles.items()},
    }
    if longest is not None:
        settings["model_max_length"] = longest
    if tokenizer.chat_template is not None:
        settings["chat_template"] = tokenizer.chat_template
    return settings
