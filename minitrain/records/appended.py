"""A file that records are appended to: what the JSONL and the CSV file share."""

from __future__ import annotations

import os
from pathlib import Path

from ..files import Closing, file_error
from ..folder import open_to_append


class AppendedFile(Closing):
    """Bytes are handed to the operating system at once, so that a killed process loses none.

    Args:
        path: the file; missing folders are made.

    Raises:
        FileError: if the file cannot be opened, or is a link or no regular file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._open()

    def _open(self) -> None:
        self._file = open_to_append(self.path)

    def _append(self, line: bytes) -> None:
        """Write ``line`` whole.

        Raises:
            FileError: if the file cannot be written.
        """
        rest = memoryview(line)
        try:
            while rest:  # an almost full disk takes a part of it first
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise file_error("write", self.path, error) from error

    def _sync(self) -> None:
        """Make all that was written durable.

        Raises:
            FileError: if the file cannot be written.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise file_error("write", self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()
