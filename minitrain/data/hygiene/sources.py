"""Records one after another, from files of any size; a broken one is an item too, with the reason.

The readers in ``data.records`` index a file to reach any record at any time. Cleaning reads each record once, so it
needs no index, and it must show every broken record where the readers name the first 20.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConfigError, DataError
from ..records.broken import BrokenRecordError
from ..records.indexed_file import MAX_RECORD_BYTES, IndexedFile
from ..records.jsonl import json_object
from ..records.line_records import decoded
from ..records.parquet import parquet_rows
from ..records.paths import files_by_class
from ..records.read import FORMATS
from ..records.tables import row_values
from ..text.corpus import TEXT_SUFFIXES, PathLike, files_below, source_paths

UNITS = ("blank", "line", "file", "label")
"""A record of a text file: the text between blank lines, a line, the file, or a file with its class."""
DEEPEST = 100
"""Lists and objects inside each other in a record."""


class Item(NamedTuple):
    """A record, or what stands in the place of one.

    Attributes:
        place: the file and the line.
        row: its columns; ``None`` if it is broken.
        reason: why it is broken.
        raw: what stands there instead, as far as it can be shown.
    """

    place: str
    row: dict[str, Any] | None
    reason: str = ""
    raw: str = ""


class Source(NamedTuple):
    """A file to read.

    Attributes:
        path: the file.
        label: its class, with ``"label"``.
    """

    path: Path
    label: str | None = None

    @property
    def is_table(self) -> bool:
        """Whether its records have columns of their own."""
        return self.label is not None or self.path.suffix.lower() in FORMATS


def source_files(sources: PathLike | Sequence[PathLike], unit: str = "blank") -> list[Source]:
    """The files of ``sources``, each once and sorted by their paths, in whatever order they are given.

    Args:
        sources: a file or a folder, or several.
        unit: see `UNITS`; with ``"label"``, folders with a folder of text files for each class.

    Raises:
        ConfigError: if the unit is unknown, or unfit for a file.
        DataError: if there is no such file or folder, or a folder has no file to read.
    """
    if unit not in UNITS:
        raise ConfigError(f"records={unit!r} must be one of {', '.join(map(repr, UNITS))}")
    found: set[Source] = set()
    for path in source_paths(sources):
        if not path.exists():
            raise DataError(f"there is no file or folder {path}: check the path (relative to {Path.cwd()})")
        if unit == "label":
            if not path.is_dir():
                raise ConfigError(f'{path} is a file: records="label" takes folders with a folder for each class')
            listed = files_by_class(path, {".txt", ".text"})
            names = map(listed.name, range(len(listed)))
            found.update(Source(path / name, name.partition("/")[0]) for name in names)
        elif path.is_dir():
            below = files_below(path, TEXT_SUFFIXES | FORMATS.keys())
            if not below:
                raise DataError(f"the folder {path} holds no file whose name ends as that of a text or a table does")
            found.update(map(Source, below))
        else:
            found.add(Source(path))
    return sorted(found, key=lambda source: source.path.parts)


def read_items(source: Source, unit: str = "blank") -> Iterator[Item]:
    """The records of one file, in order, broken ones included.

    Args:
        source: the file.
        unit: what a record of a text file is, see `UNITS`.

    Raises:
        ConfigError: if the file is a Parquet file and pyarrow is missing.
        DataError: if the file cannot be read, or the first line of a table names no columns.
    """
    file = source.path
    ending = file.suffix.lower()
    label = {} if source.label is None else {"label": source.label}
    if ending == ".parquet":
        rows = parquet_rows(file, None)
        yield from (_checked(f"{file}: row {number}", row, "") for number, row in enumerate(rows, 1))
    elif ending in (".jsonl", ".ndjson"):
        for line, content in IndexedFile(file).scan():
            yield _item(f"{file}:{line}", content, json_object)
    elif ending in FORMATS:
        yield from _table(file, quoted=ending == ".csv")
    else:
        for line, content in _texts(file, unit):
            yield _item(f"{file}:{line}", content, lambda text: {"text": text} | label)


def strings(value: Any) -> Iterator[str]:
    """All texts in a value of JSON, in order; names of members are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def text_of(row: Mapping[str, Any], columns: Sequence[str] | None = None) -> str:
    """The texts in some columns of a row, or in all, joined by line breaks."""
    chosen = [value for name, value in row.items() if columns is None or name in columns]
    return "\n".join(strings(chosen))


def _texts(file: Path, unit: str) -> Iterator[tuple[int, bytes | None]]:
    """The first line and the bytes of each record of a text file; ``None`` for one that is too long."""
    parts: list[bytes] | None = []
    first = size = 0
    for line, content in IndexedFile(file).scan():
        if content is not None and not content.strip() and (unit in ("blank", "line") or not first):
            if first:
                yield first, None if parts is None else b"\n".join(parts)
            parts, first, size = [], 0, 0
            continue
        if unit == "line":
            yield line, content
            continue
        first = first or line
        size += MAX_RECORD_BYTES if content is None else len(content)
        if content is None or parts is None or size + len(parts) > MAX_RECORD_BYTES:
            parts = None
        else:
            parts.append(content)
    if first:
        yield first, None if parts is None else b"\n".join(parts).rstrip(b"\r\n")


def _table(file: Path, *, quoted: bool) -> Iterator[Item]:
    names: list[str] | None = None
    for line, content in IndexedFile(file, quoted=quoted).scan():
        if names is None:
            try:
                names = row_values(decoded(content), quoted=quoted)
            except BrokenRecordError as error:
                raise DataError(f"cannot use {file}: its first line does not name columns: {error}") from error
            if len(set(names)) < len(names):
                raise DataError(f"cannot use {file}: its first line does not name columns: a name stands in it twice")
            continue

        def row(text: str, names: list[str] = names) -> dict[str, Any]:
            values = row_values(text, quoted=quoted)
            if len(values) != len(names):
                raise BrokenRecordError(f"has not {len(names)} columns")
            return dict(zip(names, values, strict=True))

        yield _item(f"{file}:{line}", content, row)


def _item(place: str, content: bytes | None, read: Any) -> Item:
    raw = "" if content is None else content.decode("utf-8", "backslashreplace")
    try:
        text = decoded(content)
        if not text.strip():
            raise BrokenRecordError("the line is empty")
        return _checked(place, read(text), raw)
    except BrokenRecordError as error:
        return Item(place, None, str(error), raw)


def _checked(place: str, row: dict[str, Any], raw: str) -> Item:
    """A row whose values are those of JSON, not too deep, and whose texts are Unicode."""
    try:
        if _depth(row) > DEEPEST:
            return Item(place, None, f"has more than {DEEPEST} lists and objects inside each other", raw)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # JSON can name half of a surrogate pair, which no tokenizer takes
        return Item(place, None, "has half of a surrogate pair in it", raw)
    except (TypeError, ValueError):
        return Item(place, None, "a value is no text, number or list of them", raw)
    if not any(text.strip() for text in strings(row)):
        return Item(place, None, "has no text in it", raw)
    return Item(place, row, "", raw)


def _depth(value: Any) -> int:
    """How many lists and objects are inside each other."""
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth


def inside_a_source(folder: PathLike, sources: PathLike | Sequence[PathLike]) -> bool:
    """Whether ``folder`` is inside one of the sources, where its files would count as data."""
    place = Path(os.path.realpath(folder))
    return any(place.is_relative_to(os.path.realpath(source)) for source in source_paths(sources))
