"""The log of a run: one JSON object a line, appended, never rewritten."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import FileError, file_error, open_regular, parse_json
from ..folder.names import METRICS as METRICS
from .appended import AppendedFile

TIMING = (
    "seconds",
    "tokens_per_second",
    "samples_per_second",
    "step_seconds_p50",
    "step_seconds_p95",
    "peak_memory_bytes",
    "pool_bytes",
    "flops_per_second",
    "utilisation",
)
"""The fields that depend on the clock or the machine; all others are the same each time a run is repeated."""

_BLOCK, _LONGEST = 1 << 16, 100_000  # bytes read at a time, and of a line


class MetricsWriter(AppendedFile):
    """Appends records to a JSONL file.

    Each record is handed to the operating system at once, so that a killed process loses none; `sync` makes them
    survive a power cut. JSON has no NaN and no infinity: they are written as ``null``.

    Args:
        path: the file; missing folders are made.

    Raises:
        FileError: if the file cannot be opened, or is a link or no regular file.
    """

    def write(self, record: Mapping[str, Any]) -> None:
        """Append ``record``, a mapping of names to numbers (NumPy's too), text, or nothing.

        Raises:
            FileError: if the file cannot be written.
        """
        values = {name: _plain(value) for name, value in record.items()}
        self._append(json.dumps(values, allow_nan=False).encode() + b"\n")

    def sync(self) -> int:
        """Make all records durable and return `offset`, for the checkpoint.

        Raises:
            FileError: if the file cannot be written.
        """
        self._sync()
        return self.offset()

    def offset(self) -> int:
        """Length of the file in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def truncate(self, offset: int) -> bool:
        """Forget the records after the first ``offset`` bytes: those of steps that will be done again.

        Returns:
            Whether all ``offset`` bytes were there; if not, some records were lost, and a torn last line is cut off.

        Raises:
            FileError: if the file cannot be written.
        """
        try:
            available = self.offset()
            if available < offset:
                self._file.truncate(self._end_of_last_line())
            else:
                self._file.truncate(offset)
        except OSError as error:
            raise file_error("write", self.path, error) from error
        return available >= offset

    def _end_of_last_line(self) -> int:
        end = self.offset()
        while end:
            start = max(0, end - _BLOCK)
            self._file.seek(start)
            if (found := self._file.read(end - start).rfind(b"\n")) >= 0:
                return start + found + 1
            end = start
        return 0


def read_metrics(path: str | Path, *, end: int | None = None) -> list[dict[str, Any]]:
    """The records of a JSONL file, oldest first; ``null`` comes back as NaN.

    Lines that are not JSON objects are passed over: the last line may be torn when the process was killed, or when
    the file is read while a run writes it. So are lines of over 100,000 bytes, and lists and objects inside a record:
    no logger of ours writes them.

    Args:
        path: the file.
        end: read only the first ``end`` bytes.

    Raises:
        FileError: if the file cannot be read, or is no regular file.
    """
    records = []
    try:
        with open_regular(path) as raw, io.BufferedReader(raw, _BLOCK) as file:
            left = os.fstat(raw.fileno()).st_size if end is None else end
            while left > 0 and (line := file.readline(min(left, _LONGEST))):
                left -= len(line)
                if not line.endswith(b"\n") and len(line) == _LONGEST:
                    while left > 0 and (rest := file.readline(min(left, _LONGEST))) and not rest.endswith(b"\n"):
                        left -= len(rest)
                    continue
                if (record := _record(line)) is not None:
                    records.append(record)
    except FileError:
        raise
    except OSError as error:
        raise file_error("read", path, error) from error
    return records


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    return {
        sys.intern(name): math.nan if value is None else value  # thousands of records have the same names
        for name, value in record.items()
        if not isinstance(value, dict | list)
    }


def metrics_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers in a record, for whoever draws or adds them; text, and numbers of absurd size, are left out."""
    return {name: value for name, value in record.items() if type(value) is float or _is_count(value)}


def _is_count(value: object) -> bool:
    return type(value) is int and abs(value) < 2**63


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
