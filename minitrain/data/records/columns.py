"""Columns of records: their names in the file, their kinds, and the check of a record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...errors import ConfigError
from .broken import BrokenRecordError

ColumnSpec = Mapping[str, "str | Column"]
"""Columns by the names they get; a text is the name of a text column in the file."""


class Column(NamedTuple):
    """A column to read.

    Attributes:
        name: its name in the file.
        kind: ``"text"``; ``"texts"``, a list of texts; ``"text or texts"``; ``"label"``, a text or an integer, read as
            text; ``"integer"``; ``"number"``; or ``"any"``.
        empty: whether a text may be empty or blank, and a list may have no text.
    """

    name: str
    kind: str = "text"
    empty: bool = False


def checked_columns(columns: ColumnSpec) -> dict[str, Column]:
    """``columns`` with every one as a `Column`.

    Raises:
        ConfigError: if there are none, or a kind is unknown.
    """
    found = {as_: Column(spec) if isinstance(spec, str) else spec for as_, spec in columns.items()}
    if not found:
        raise ConfigError('name at least one column, such as columns={"text": "sentence"}')
    for as_, column in found.items():
        if column.kind not in _CHECKS:
            raise ConfigError(f"column {as_!r} has kind={column.kind!r}; there are {', '.join(_CHECKS)}")
    return found


def checked_row(row: Mapping[str, Any], columns: Mapping[str, Column]) -> dict[str, Any]:
    """The values of ``columns`` in a record, by the names they get.

    Raises:
        BrokenRecordError: if a column is missing, of another kind, or empty.
    """
    found = {}
    for as_, column in columns.items():
        if column.name not in row:
            raise BrokenRecordError(f"there is no column {column.name!r}")
        value = _CHECKS[column.kind](row[column.name])
        if value is None:
            raise BrokenRecordError(f"column {column.name!r} is not of kind {column.kind}")
        if not column.empty and is_blank(value):
            raise BrokenRecordError(f"column {column.name!r} is empty")
        found[as_] = value
    return found


def is_blank(value: Any) -> bool:
    """Whether a value is a text without letters, or a list without texts or with a blank one."""
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list) and (not value or any(isinstance(text, str) and is_blank(text) for text in value))


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can name half of a surrogate pair, which no tokenizer takes
        return None
    return value


def _texts(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and all(_text(text) is not None for text in value) else None


def _text_or_texts(value: Any) -> str | list[str] | None:
    return _texts(value) if isinstance(value, list) else _text(value)


def _label(value: Any) -> str | None:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _integer(value: Any) -> int | None:
    if isinstance(value, str):  # a table of texts
        try:
            value = int(value)
        except ValueError:
            return None
    fits = isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63
    return value if fits else None


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "texts": _texts,
    "text or texts": _text_or_texts,
    "label": _label,
    "integer": _integer,
    "number": _number,
    "any": lambda value: "" if value is None else value,
}
