"""Records as a CSV file, whose columns may grow: a later record may have metrics that the first ones lack."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..files import FileError, file_error, open_atomically, open_regular
from .appended import AppendedFile


class CsvFile(AppendedFile):
    """Appends records to a CSV file; the first line names the columns, in the order in which they first came.

    A record leaves the cells of columns that it lacks empty. One with a new column makes the file be written anew,
    atomically, with empty cells in the rows before: that costs time once for each kind of record. Each row is handed
    to the operating system at once. NaN stands as ``nan``.

    Args:
        path: the file; missing folders are made. A torn last line is left out.

    Attributes:
        columns: their names.
        rows: number of records.

    Raises:
        FileError: if the file cannot be opened, or is a link or no regular file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.columns: list[str] = next(self._stored(), [])
        self.rows = sum(1 for _ in islice(self._stored(), 1, None))

    def write(self, record: Mapping[str, Any]) -> None:
        """Append ``record``, a mapping of names to numbers, text, or nothing; an empty one is left out.

        Raises:
            FileError: if the file cannot be written.
        """
        if not record:
            return
        new = [name for name in record if name not in self.columns]
        if new:
            self._rewrite(self.rows, self.columns + new)
        self._append(_line(_cell(record.get(name)) for name in self.columns))
        self.rows += 1

    def sync(self) -> tuple[int, int]:
        """Make all records durable and return the numbers of rows and columns, for the checkpoint.

        Raises:
            FileError: if the file cannot be written.
        """
        self._sync()
        return self.rows, len(self.columns)

    def truncate(self, rows: int, columns: int) -> bool:
        """Forget the records after the first ``rows``, and the columns that came with them.

        Returns:
            Whether all these records were there.

        Raises:
            FileError: if the file cannot be written.
        """
        complete = self.rows >= rows
        self._rewrite(min(rows, self.rows), self.columns[:columns])
        return complete

    def _rewrite(self, rows: int, columns: list[str]) -> None:
        """The first ``rows`` records with ``columns``, the present ones or more or fewer of them, in a new file."""
        width = len(columns)
        with open_atomically(self.path) as file:
            if columns:
                file.write(_line(columns))
            for row in islice(self._stored(), 1, 1 + rows):
                file.write(_line((row + [""] * width)[:width]))
        self._file.close()
        self._open()  # the old one is no longer in the folder
        self.columns, self.rows = columns, rows

    def _stored(self) -> Iterator[list[str]]:
        """The complete lines of the file, the header first."""
        try:
            raw = open_regular(self.path, links=False)
            with io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8", errors="replace", newline="") as file:
                yield from csv.reader(line for line in file if line.endswith("\n"))
        except FileError:
            raise
        except (OSError, csv.Error) as error:
            reason = error if isinstance(error, OSError) else OSError(str(error))
            raise file_error("read", self.path, reason) from error


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(list(cells))
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """A value as text on one line: rows can be counted by lines then."""
    value = value.item() if hasattr(value, "item") else value
    return "" if value is None else " ".join(str(value).splitlines())
