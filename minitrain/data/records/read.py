"""Opens a file of records by its name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import ConfigError
from .base import Records
from .columns import ColumnSpec
from .joined import JoinedRecords
from .jsonl import JsonLines
from .parquet import ParquetRecords
from .tables import TableRecords

FORMATS: dict[str, type[TableRecords | JsonLines | ParquetRecords]] = {
    ".tsv": TableRecords,
    ".csv": TableRecords,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".parquet": ParquetRecords,
}
"""Readers by the ending of a file's name."""

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def read_records(
    path: Paths, columns: ColumnSpec | None = None, *, broken: str = "refuse", max_broken: float = 0.01
) -> Records:
    """The records of a file, or of several files one after another, by the ending of the name.

    Args:
        path: one or several files that end in ``.tsv``, ``.csv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.
        columns: the columns to keep by the names they get: ``{"source": "de", "target": "en"}``; see `Column`. ``None``
            keeps all columns by their own names, empty values too.
        broken: ``"refuse"`` raises an error for a broken record, ``"skip"`` leaves it out; see `BrokenItems`.
        max_broken: with ``"skip"``, the largest share of broken records in a file.

    Raises:
        ConfigError: if the ending is unknown, or a setting is not one.
        DataError: if a file cannot be read, lacks a column, or has too many broken records.
    """
    if not isinstance(path, str | os.PathLike):
        return JoinedRecords([read_records(one, columns, broken=broken, max_broken=max_broken) for one in path])
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in FORMATS:
        raise ConfigError(
            f"cannot tell the format of {os.fspath(path)}: its name must end in {', '.join(FORMATS)}; use "
            "ParallelText for two text files, LabelledFolder for a folder of texts"
        )
    return FORMATS[ending](path, columns, broken=broken, max_broken=max_broken)
