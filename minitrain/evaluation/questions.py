"""Files with multiple-choice questions: one JSON object a line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..files import FileError, file_error, is_text, open_regular, parse_json

LONGEST_LINE = 1_000_000
"""Bytes of a question."""
MOST_CHOICES = 1000


class Question(NamedTuple):
    """A text with several continuations, of which one is right.

    Attributes:
        context: the text before; may be empty.
        choices: the continuations, two or more. Each follows the context as it is, so a space between them belongs to
            one of the two.
        answer: the index of the right one, from 0.
    """

    context: str
    choices: tuple[str, ...]
    answer: int


def read_questions(path: str | Path) -> Iterator[Question]:
    r"""The questions in a file, one at a time.

    The file is UTF-8. Each line is a JSON object, such as
    ``{"context": "2 + 2 =", "choices": [" 3", " 4"], "answer": 1}``. Other members of an object are ignored, and so are
    blank lines.

    Args:
        path: the file.

    Raises:
        DataError: naming the line, if it is no question. Questions before it have been yielded.
        FileError: if the file cannot be read.
    """
    try:
        with open_regular(path) as raw, io.BufferedReader(raw) as file:
            number = 0
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(line) > LONGEST_LINE:
                    raise DataError(f"{where} is longer than {LONGEST_LINE:,} bytes, which no question is")
                if line.strip():
                    yield _question(line, where)
    except (FileError, DataError):
        raise
    except OSError as error:
        raise file_error("read", path, error) from error


def _question(line: bytes, where: str) -> Question:
    try:
        given = parse_json(line.decode("utf-8").encode())
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error!s:.200}") from error
    if not isinstance(given, dict):
        raise DataError(f'{where} is no object: {{"context": "…", "choices": ["…", "…"], "answer": 0}} is expected')
    context, choices, answer = (_member(given, name, where) for name in ("context", "choices", "answer"))
    if not is_text(context):
        raise DataError(f"{where}: context must be a text")
    if not isinstance(choices, list) or not all(is_text(choice) and choice for choice in choices):
        raise DataError(f"{where}: choices must be a list of texts of one character or more")
    if not 2 <= len(choices) <= MOST_CHOICES:
        raise DataError(f"{where} has {len(choices)} choices; there must be from 2 to {MOST_CHOICES}")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise DataError(f"{where}: answer must be the index of the right choice, from 0 to {len(choices) - 1}")
    return Question(context, tuple(choices), answer)


def _member(given: dict[str, Any], name: str, where: str) -> Any:
    if name not in given:
        raise DataError(f"{where} has no {name}")
    return given[name]
