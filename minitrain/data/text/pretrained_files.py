"""Reads a tokenizer from the files of a Hugging Face folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...files import FileError, file_error, parse_json, read_file
from .pretrained import PretrainedTokenizer
from .pretrained_checks import LARGEST_FILE, MOST_CONTAINERS

TOKENIZER, CONFIG, GENERATION = "tokenizer.json", "tokenizer_config.json", "generation_config.json"
TEMPLATE = "chat_template.jinja"
TOKENIZER_FILES = (TOKENIZER, CONFIG, GENERATION, TEMPLATE)
"""The files of a tokenizer."""
_LARGEST_SETTINGS = 16_000_000  # bytes; it may list all added tokens
_LARGEST_TEMPLATE = 1_000_000
_OLDER = {
    "vocab.json": "the older form of a byte-level BPE tokenizer",
    "tokenizer.model": "a SentencePiece model",
    "vocab.txt": "the older form of a WordPiece tokenizer",
    "spiece.model": "a SentencePiece model",
}


def load_pretrained_tokenizer(path: str | os.PathLike[str]) -> PretrainedTokenizer:
    """The tokenizer of a Hugging Face folder.

    ``tokenizer.json`` has the tokens. ``tokenizer_config.json`` and ``generation_config.json`` say which of them begin
    and end a text; without them, none does. The chat template is in ``tokenizer_config.json`` or in
    ``chat_template.jinja``.

    Args:
        path: the folder, or the ``tokenizer.json`` in it.

    Raises:
        DataError: if a file is damaged or hostile, or says what minitrain cannot do exactly.
        FileError: if a file is missing or cannot be read.
    """
    path = Path(path)
    folder = path.parent if path.name == TOKENIZER else path
    if not (folder / TOKENIZER).exists():
        for name, what in _OLDER.items():
            if (folder / name).exists():
                raise DataError(
                    f"{folder} has {name}, {what}, and no {TOKENIZER}: write one with "
                    "transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
                )
    description = _read_json(folder / TOKENIZER, LARGEST_FILE, MOST_CONTAINERS)
    settings = _object(folder / CONFIG, _LARGEST_SETTINGS)
    generation = _object(folder / GENERATION, _LARGEST_SETTINGS)
    try:
        names = _names(description, generation.get("eos_token_id"))
        end = [name for name in (_name(settings, "eos_token"), *names) if name is not None]
        return PretrainedTokenizer(
            description,
            begin=_name(settings, "bos_token"),
            end=end,
            pad=_name(settings, "pad_token"),
            chat_template=_template(folder, settings),
        )
    except DataError as error:
        raise DataError(f"{folder}: {error}") from error


def _read_json(path: Path, limit: int, containers: int = 1 << 20) -> Any:
    try:
        return parse_json(read_file(path, limit), containers=containers)
    except FileError:
        raise
    except OSError as error:
        raise file_error("read", path, error) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): it is damaged") from error


def _object(path: Path, limit: int) -> Mapping[str, Any]:
    """The object in a file that may be absent."""
    if not path.exists():
        return {}
    content = _read_json(path, limit)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}, not an object: it is damaged")
    return content


def _name(settings: Mapping[str, Any], key: str) -> str | None:
    """The name of a token, which may be written as an object with its content."""
    match settings.get(key):
        case str(name) | {"content": str(name)}:
            return name
        case None:
            return None
        case other:
            raise DataError(f"{CONFIG}: {key} is a {type(other).__name__}, not the name of a token: it is damaged")


def _names(description: Any, ids: object) -> list[str]:
    """The names of the tokens with these ids, one or a list of them."""
    wanted = ids if isinstance(ids, list) else [] if ids is None else [ids]
    if not wanted or not isinstance(description, dict) or not isinstance(description.get("model"), dict):
        return []
    known: dict[object, str] = {}
    vocab, added = description["model"].get("vocab"), description.get("added_tokens")
    if isinstance(vocab, dict):
        known |= {number: name for name, number in vocab.items() if type(number) is int}
    if isinstance(added, list):
        known |= {
            token["id"]: token["content"]
            for token in added
            if isinstance(token, dict) and type(token.get("id")) is int and isinstance(token.get("content"), str)
        }
    missing = [number for number in wanted if type(number) is not int or number not in known]
    if missing:
        raise DataError(f"{GENERATION}: eos_token_id {str(missing[0])[:40]} is not the id of a token")
    return [known[number] for number in wanted]


def _template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / TEMPLATE
    if path.exists():
        try:
            return read_file(path, _LARGEST_TEMPLATE).decode()
        except FileError:
            raise
        except OSError as error:
            raise file_error("read", path, error) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8: it is damaged") from error
    match settings.get("chat_template"):
        case str() | None as template:
            return template
        case [*templates]:  # several, for different uses
            named = {t.get("name"): t.get("template") for t in templates if isinstance(t, dict) and _plain(t)}
            return named.get("default")
        case _:
            raise DataError(f"{CONFIG}: its chat_template is not a text: it is damaged")


def _plain(template: Mapping[str, Any]) -> bool:
    return isinstance(template.get("name"), str) and isinstance(template.get("template"), str)
