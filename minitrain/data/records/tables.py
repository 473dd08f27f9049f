"""Tables: tab-separated and comma-separated values."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ConfigError, did_you_mean
from .broken import BrokenRecordError
from .columns import ColumnSpec
from .line_records import LineRecords


class TableRecords(LineRecords):
    r"""Rows of a table in a text file; the first line names the columns, unless names are given.

    A ``.csv`` file has commas, and double quotes around values with commas, quotes or line ends (RFC 4180). Any other
    file has tabs, and every other character stands for itself.

    Attributes:
        names: the columns of the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: ColumnSpec | None = None,
        *,
        names: Sequence[str] | None = None,
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Read the file once.

        Args:
            path: the file.
            columns: see `LineRecords`.
            names: the columns of a file whose first line is a row already; ``None`` reads them from the first line.
            broken: ``"refuse"`` or ``"skip"``; see `BrokenItems`.
            max_broken: with ``"skip"``, the largest share of broken rows.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if the file cannot be read, lacks a column, or too many rows are broken.
        """
        self.quoted = os.fspath(path).lower().endswith(".csv")
        self.header = names is None
        self.names = tuple(names or ())
        if names is not None and (not self.names or len(set(self.names)) < len(self.names)):
            raise ConfigError(f"names={list(self.names)} must name every column of the file once")
        self._wanted = [] if columns is None else [s if isinstance(s, str) else s.name for s in columns.values()]
        if names is not None:
            self._check_wanted(path)
        super().__init__(path, columns, broken=broken, max_broken=max_broken)

    def read_header(self, text: str) -> None:
        """The names of the columns.

        Raises:
            DataError: if a column that was asked for is not among them.
        """
        self.names = tuple(row_values(text, quoted=self.quoted))
        if len(set(self.names)) < len(self.names):
            raise BrokenRecordError("a name stands in it twice")
        self._check_wanted(self.path)

    def parse(self, text: str) -> Mapping[str, Any]:
        """The values of a row by the names of their columns."""
        values = row_values(text, quoted=self.quoted)
        if len(values) != len(self.names):
            raise BrokenRecordError(f"has not {len(self.names)} columns")
        return dict(zip(self.names, values, strict=True))

    def _check_wanted(self, path: str | os.PathLike[str]) -> None:
        for name in self._wanted:
            if name not in self.names:
                raise ConfigError(
                    f"{os.fspath(path)} has no column {name!r}: {did_you_mean(name, self.names)}"
                    f"its columns are {', '.join(map(repr, self.names[:20]))}"
                )


def row_values(text: str, *, quoted: bool) -> list[str]:
    """The values of a row.

    Args:
        text: the row, without its line end.
        quoted: whether it is CSV, with commas and quotes; otherwise tabs part the values.

    Raises:
        BrokenRecordError: if it is not one row of CSV.
    """
    if not quoted:
        return text.split("\t")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise BrokenRecordError("not a row of CSV: its quotes do not match, or a value is too long") from error
    if len(rows) != 1:
        raise BrokenRecordError("not one row of CSV")
    return rows[0]
