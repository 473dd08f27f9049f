"""Parquet tables, read by pyarrow."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError, did_you_mean, printable
from ...files import FileError, sha256_of
from .base import Records, digest
from .broken import BrokenItems, BrokenRecordError
from .columns import Column, ColumnSpec, checked_columns, checked_row

_ROWS = 1024
"""Rows that are read at once."""


class ParquetRecords(Records):
    """Rows of a Parquet file; needs ``pyarrow``, the extra ``minitrain[parquet]``.

    Parquet packs rows in large groups, from which a single one cannot be read. So the columns are unpacked once, into a
    temporary file without a name that ends with this object; 8 bytes are kept in memory for each row.
    Columns hold texts, numbers, or lists of them.

    Attributes:
        path: the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: ColumnSpec | None = None,
        *,
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Unpack the columns.

        Args:
            path: the file.
            columns: see `LineRecords`.
            broken: ``"refuse"`` or ``"skip"``; see `BrokenItems`.
            max_broken: with ``"skip"``, the largest share of broken rows.

        Raises:
            ConfigError: if pyarrow is missing, or a setting is not one.
            DataError: if the file cannot be read, lacks a column, or too many rows are broken.
        """
        self.broken = BrokenItems(broken, max_broken)
        self.path = Path(os.path.expanduser(path))
        self._starts = array("q", [0])
        self._content = tempfile.TemporaryFile()  # noqa: SIM115  # closed with this object
        weakref.finalize(self, self._content.close)
        try:
            self._sha256 = sha256_of(self.path)
        except FileError as error:
            raise DataError(str(error)) from error
        kept = None if columns is None else checked_columns(columns)
        number = -1
        for number, row in enumerate(parquet_rows(self.path, kept)):
            if kept is None:
                kept = {name: Column(name, "any", True) for name in row}
            try:
                content = json.dumps(checked_row(row, kept)).encode()
            except BrokenRecordError as error:
                self.broken.add(self.path, number + 1, str(error))
            except (TypeError, ValueError):
                self.broken.add(self.path, number + 1, "a value is no text, number or list of them")
            else:
                self._content.write(content)
                self._starts.append(self._starts[-1] + len(content))
        self._content.flush()
        self.broken.check_share(number + 1)
        if len(self._starts) == 1:
            raise DataError(f"cannot use {self.path}: it has no rows")
        self.columns, self._described = tuple(kept or ()), repr(kept)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Row ``index``."""
        row = self._checked(index)
        start, end = self._starts[row], self._starts[row + 1]
        found: dict[str, Any] = json.loads(os.pread(self._content.fileno(), end - start, start))
        return found

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file's bytes, the columns, and what was left out."""
        return digest("parquet", self._sha256, self._described, str(len(self)))


def parquet_rows(path: Path, columns: dict[str, Column] | None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, a few at a time in memory; all columns if ``columns`` is ``None``.

    Raises:
        ConfigError: if pyarrow is missing, or a column.
        DataError: if it is no Parquet file.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(
            f"reading {path} needs pyarrow: pip install 'minitrain[parquet]', or convert the file to JSON lines"
        ) from error
    try:
        with contextlib.closing(parquet.ParquetFile(path)) as file:
            names = file.schema_arrow.names
            for column in (columns or {}).values():
                if column.name not in names:
                    raise ConfigError(
                        f"{path} has no column {column.name!r}: {did_you_mean(column.name, names)}"
                        f"its columns are {', '.join(map(repr, names[:20]))}"
                    )
            wanted = None if columns is None else sorted({column.name for column in columns.values()})
            for batch in file.iter_batches(batch_size=_ROWS, columns=wanted):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(printable(f"cannot use {path}: pyarrow reads no Parquet from it ({error!s:.200})")) from error
