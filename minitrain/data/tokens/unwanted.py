r"""Prompts with texts that should not follow them, and with refusals that should.

Such a list is a file with a JSON object on each line::

    {"prompt": "The code of the safe is ", "unwanted": ["4711", "0815"], "refusal": "not to be told."}

Each line has a prompt, and ``unwanted``, ``refusal``, or both. One list serves to train against and to count with: see
`minitrain.measures.count_unwanted`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...files import is_text, parse_json, read_file
from ..loading.batches import IGNORED, UNWANTED, Batch
from ..text.tokenizers import Tokenizer

LARGEST_LIST = 16_000_000
"""Bytes of a list."""
MOST_TEXTS = 100_000
"""Texts in a list; each becomes a sample in memory."""
EXPECTED = '{"prompt": "…", "unwanted": ["…"], "refusal": "…"}'


class UnwantedTexts(NamedTuple):
    """A prompt, and what should and what should not follow it.

    Attributes:
        prompt: what the model is given, at least one character.
        unwanted: texts that should not follow it; may be empty.
        refusal: a text that should follow it; empty for none.
    """

    prompt: str
    unwanted: tuple[str, ...] = ()
    refusal: str = ""


def read_unwanted(path: str | Path) -> list[UnwantedTexts]:
    """The list in a file. Blank lines are ignored.

    Raises:
        DataError: naming the line, if it is no entry of a list; or if there is none.
        FileError: if the file cannot be read.
    """
    return parse_unwanted(read_file(path, LARGEST_LIST), str(path))


def parse_unwanted(content: bytes, name: str) -> list[UnwantedTexts]:
    """The list in the content of the file ``name``; see `read_unwanted`."""
    lines = enumerate(content.split(b"\n"), 1)
    found = [_entry(line, f"{name}, line {number}") for number, line in lines if line.strip()]
    if not found:
        raise DataError(f"{name} is empty: {EXPECTED} is expected on each line")
    if (count := sum(len(one.unwanted) + bool(one.refusal) for one in found)) > MOST_TEXTS:
        raise DataError(f"{name} lists {count:,} texts, and at most {MOST_TEXTS:,} fit: take a part of them")
    return found


def write_unwanted(entries: Iterable[UnwantedTexts]) -> bytes:
    """The content of a file that `parse_unwanted` reads as these entries."""
    return b"".join(json.dumps(entry._asdict()).encode() + b"\n" for entry in entries)


def encode_unwanted(entries: Sequence[UnwantedTexts], tokenizer: Tokenizer, block_size: int) -> Batch:
    """The samples of a list: each prompt with each of its unwanted texts, and with its refusal.

    Only the tokens of what follows the prompt count, and of an unwanted text only those from where it differs from the
    refusal on: a space that both begin with is not to blame. A prompt that is too long loses its beginning.

    Args:
        entries: the list.
        tokenizer: makes the tokens.
        block_size: T, tokens of a sample.

    Returns:
        inputs (n, T) and targets (n, T), int32. An unwanted token c is the target ``UNWANTED - c``, for
        `UnlikelihoodLoss`; behind the end of a text targets are -100.

    Raises:
        DataError: naming the entry, if it has a character that the tokenizer does not know, or a text of more than T
            tokens.
    """
    inputs, targets = [], []
    for number, entry in enumerate(entries, 1):
        texts = [*entry.unwanted, *[entry.refusal] * bool(entry.refusal)]
        try:
            prompt, *following = (tokenizer.encode(text) for text in (entry.prompt, *texts))
        except DataError as error:
            raise DataError(f"entry {number} of the unwanted texts: {error}") from error
        if (longest := max(map(len, following))) > block_size:
            raise DataError(
                f"entry {number} of the unwanted texts has {longest} tokens after its prompt, and "
                f"data.block_size={block_size}: shorten it"
            )
        for text, tokens in enumerate(following):
            aims = np.array(tokens, np.int32)
            if text < len(entry.unwanted):
                aims = np.int32(UNWANTED) - aims
                aims[: _common(tokens, following[-1]) if entry.refusal else 0] = IGNORED
            before = prompt[-(block_size + 1 - len(tokens)) :]  # at least its last token
            row, places = np.zeros(block_size, np.int32), np.full(block_size, IGNORED, np.int32)
            row[: len(before) + len(tokens) - 1] = np.concatenate([before, tokens[:-1]])
            places[len(before) - 1 : len(before) + len(tokens) - 1] = aims
            inputs.append(row)
            targets.append(places)
    both = (np.array(rows, np.int32).reshape(-1, block_size) for rows in (inputs, targets))  # (n, T), for n of 0 too
    return Batch(*both)


def _common(tokens: NDArray[np.int32], others: NDArray[np.int32]) -> int:
    """How many tokens both begin with."""
    same = min(len(tokens), len(others))
    differ = np.flatnonzero(tokens[:same] != others[:same])
    return int(differ[0]) if differ.size else same


def _entry(line: bytes, where: str) -> UnwantedTexts:
    try:
        given = parse_json(line.decode("utf-8").encode())
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error!s:.200}") from error
    if not isinstance(given, dict):
        raise DataError(f"{where} is no object: {EXPECTED} is expected")
    prompt, unwanted, refusal = given.get("prompt"), given.get("unwanted", []), given.get("refusal", "")
    if not is_text(prompt) or not prompt:
        raise DataError(f"{where}: prompt must be a text of one character or more")
    if not isinstance(unwanted, list) or not all(is_text(text) and text.strip() for text in unwanted):
        raise DataError(f"{where}: unwanted must be a list of texts that are not blank")
    if not is_text(refusal):
        raise DataError(f"{where}: refusal must be a text")
    if not unwanted and not refusal:
        raise DataError(f"{where} has neither unwanted texts nor a refusal: {EXPECTED} is expected")
    return UnwantedTexts(prompt, tuple(unwanted), refusal)
