"""The base of readers of text files: one pass that checks every record, and reading one again."""

from __future__ import annotations

import os
from abc import abstractmethod
from array import array
from collections.abc import Mapping
from typing import Any

from .base import Records, digest
from .broken import BrokenItems, BrokenRecordError
from .columns import Column, ColumnSpec, checked_columns, checked_row
from .indexed_file import MAX_RECORD_BYTES, IndexedFile


def decoded(content: bytes | None) -> str:
    """The text of a line.

    Raises:
        BrokenRecordError: if it is too long or not UTF-8 text.
    """
    if content is None:
        raise BrokenRecordError(f"longer than {MAX_RECORD_BYTES:,} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenRecordError("not UTF-8") from error
    if "\0" in text:
        raise BrokenRecordError("holds a zero byte: it is not text")
    return text


class LineRecords(Records):
    """Records of one text file. A subclass says how one is read from its text.

    The file is read once when it is opened: broken records are found, and 8 bytes are kept in memory for each record.

    Attributes:
        path: the file.
    """

    header = False
    """Whether the first record names the columns."""
    quoted = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        columns: ColumnSpec | None = None,
        *,
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Read the file once.

        Args:
            path: the file.
            columns: the columns to keep by the names they get: ``{"source": "de", "target": "en"}``; see `Column`.
                ``None`` keeps all columns by their own names, empty values too.
            broken: ``"refuse"`` raises an error for a broken record, ``"skip"`` leaves it out; see `BrokenItems`.
            max_broken: with ``"skip"``, the largest share of broken records.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if the file cannot be read, has no records, or too many are broken.
        """
        self.broken = BrokenItems(broken, max_broken)
        self._file = IndexedFile(path, quoted=self.quoted)
        self.path = self._file.path
        self._columns = None if columns is None else checked_columns(columns)
        number, left_out = 0, array("q")
        for number, (line, content) in enumerate(self._file.scan()):
            try:
                text = decoded(content)
                if number == 0 and self.header:
                    self.read_header(text)
                    left_out.append(number)
                    continue
                if not text.strip():
                    raise BrokenRecordError("the line is empty")
                row = self.parse(text)
                if self._columns is None:
                    self._columns = {name: Column(name, "any", True) for name in row}
                checked_row(row, self._columns)
            except BrokenRecordError as error:
                if number == 0 and self.header:
                    raise self.refusal(f"its first line does not name columns: {error}") from error
                left_out.append(number)
                self.broken.add(self.path, line, str(error))
        self._file.leave_out(left_out)
        self.broken.check_share(number + 1)
        if not len(self._file):
            raise self.refusal("it has no records")
        self.columns = tuple(self._columns or ())

    @abstractmethod
    def parse(self, text: str) -> Mapping[str, Any]:
        """The columns of a record.

        Raises:
            BrokenRecordError: if it is not one.
        """

    def read_header(self, text: str) -> None:
        """Take up the names of the columns."""

    def refusal(self, reason: str) -> Exception:
        """The error for a file that is none of its kind."""
        from ...errors import DataError, printable

        return DataError(printable(f"cannot use {self.path}: {reason}"))

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Record ``index``.

        Raises:
            DataError: if the file has changed since it was opened.
        """
        row = self._checked(index)
        assert self._columns is not None
        try:
            return checked_row(self.parse(self._file.text(row)), self._columns)
        except BrokenRecordError as error:
            raise self._file.changed(row) from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file's bytes, the columns, and what was left out."""
        return digest(type(self).__name__, self._file.sha256, repr(self._columns), str(len(self)))

    def place(self, index: int) -> str:
        """The file, and the number of the record in it."""
        return f"{self.path}: record {self._file.number_of(index) + 1}"
