"""A text file by record number: one pass finds where records begin, after that any of them is one read away."""

from __future__ import annotations

import hashlib
import os
import weakref
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import DataError
from ...files import FileError, open_regular

MAX_RECORD_BYTES = 1 << 24
"""A longer record is broken: 16 MiB of text are no sentence, and a file without line ends would fill the memory."""
_BUFFER = 1 << 20


class IndexedFile:
    """A file of records, one on each line.

    `scan` reads the file once. It keeps 8 bytes for each record in memory, and the SHA-256 of the content.

    Attributes:
        path: the file.
        sha256: 64 hexadecimal digits, after the scan.
    """

    def __init__(self, path: str | os.PathLike[str], *, quoted: bool = False) -> None:
        """Open ``path``.

        Args:
            path: the file.
            quoted: whether a record goes on over line ends between double quotes, as in CSV.

        Raises:
            DataError: if it cannot be opened or is no regular file.
        """
        self.path, self.quoted, self.sha256 = Path(os.path.expanduser(path)), quoted, ""
        try:
            self._file = open_regular(self.path)
        except FileNotFoundError as error:
            raise DataError(f"there is no file {self.path}: check the path (relative to {Path.cwd()})") from error
        except FileError as error:
            raise DataError(str(error)) from error
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error
        weakref.finalize(self, self._file.close)
        self._starts = array("q")
        self._end = 0
        self._left_out = np.zeros(0, dtype=np.int64)

    def scan(self) -> Iterator[tuple[int, bytes | None]]:
        """Every record of the file: the number of its first line, counted from 1, and its bytes without the line end.

        The bytes are ``None`` for a record of more than `MAX_RECORD_BYTES`. A byte order mark is dropped.
        """
        content_hash, line, offset = hashlib.sha256(), 1, 0
        with open(os.dup(self._file.fileno()), "rb", buffering=_BUFFER) as file:
            file.seek(0)
            while True:
                record, size, lines = self._next_record(file, content_hash)
                if not size:
                    break
                self._starts.append(offset)
                yield line, None if record is None else _trimmed(record, first=offset == 0)
                offset += size
                line += lines
        self._end, self.sha256 = offset, content_hash.hexdigest()

    def leave_out(self, records: array[int]) -> None:
        """Take ``records``, their numbers in the file in rising order, out of the count: they are broken."""
        numbers = np.array(records, dtype=np.int64)
        # Record i of those kept stands after as many broken ones as have at most i kept ones before them.
        self._left_out = numbers - np.arange(numbers.size)

    def number_of(self, index: int) -> int:
        """The number in the file of record ``index`` of those kept."""
        return index + int(np.searchsorted(self._left_out, index, side="right"))

    def __len__(self) -> int:
        return len(self._starts) - self._left_out.size

    def text(self, index: int) -> str:
        """The text of record ``index`` of those kept.

        Raises:
            DataError: if the file has changed since it was scanned.
        """
        number = self.number_of(index)
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self._end
        content = os.pread(self._file.fileno(), end - start, start)
        try:
            if len(content) < end - start:
                raise EOFError
            return _trimmed(content, first=start == 0).decode("utf-8")
        except (EOFError, UnicodeDecodeError) as error:
            raise self.changed(index) from error

    def changed(self, index: int) -> DataError:
        """The error for a record that is no longer what it was in the scan."""
        return DataError(
            f"record {self.number_of(index) + 1} of {self.path} is not what it was when the file was opened: the file "
            "has changed; open it again"
        )

    def _next_record(self, file: BinaryIO, content_hash: hashlib._Hash) -> tuple[bytes | None, int, int]:
        """Bytes of the next record or ``None`` if it is too long, its size with line ends, and its number of lines."""
        parts: list[bytes] = []
        size = lines = quotes = 0
        whole = True
        while piece := file.readline(_BUFFER):
            content_hash.update(piece)
            size += len(piece)
            whole = whole and size <= MAX_RECORD_BYTES
            if whole:
                parts.append(piece)
            else:
                parts.clear()
            quotes += piece.count(b'"') if self.quoted and whole else 0
            if piece.endswith(b"\n"):
                lines += 1
                if quotes % 2 == 0 or not whole:  # after a quote that is never closed, records begin at lines again
                    break
        return (b"".join(parts) if whole else None), size, lines


def _trimmed(record: bytes, *, first: bool) -> bytes:
    record = record.removesuffix(b"\n").removesuffix(b"\r")
    return record.removeprefix(b"\xef\xbb\xbf") if first else record
