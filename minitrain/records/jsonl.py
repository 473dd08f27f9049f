"""The log of a run: one JSON object a line, appended, never rewritten."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import file_error
from .appended import AppendedFile

METRICS = "metrics.jsonl"
"""The file's name in a run folder."""

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


class MetricsWriter(AppendedFile):
    """Appends records to a JSONL file.

    Each record is handed to the operating system at once, so that a killed process loses none; `sync` makes them
    survive a power cut. JSON has no NaN and no infinity: they are written as ``null``.

    Args:
        path: the file; its folder must exist.

    Raises:
        FileError: if the file cannot be opened.
    """

    def write(self, record: Mapping[str, Any]) -> None:
        """Append ``record``, a mapping of names to numbers (NumPy's too), text, or nothing.

        Raises:
            FileError: if the disk refuses.
        """
        values = {name: _plain(value) for name, value in record.items()}
        self._append(json.dumps(values, allow_nan=False).encode() + b"\n")

    def sync(self) -> int:
        """Make all records durable and return `offset`, for the checkpoint.

        Raises:
            FileError: if the disk refuses.
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
            FileError: if the disk refuses.
        """
        try:
            available = self.offset()
            if available < offset:
                text = self.path.read_bytes()
                os.truncate(self.path, text.rfind(b"\n") + 1)
            else:
                os.truncate(self.path, offset)
        except OSError as error:
            raise file_error("write", self.path, error) from error
        return available >= offset


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of a JSONL file, oldest first; ``null`` comes back as NaN.

    Lines that are not JSON objects are passed over: the last line may be torn when the process was killed, or when
    the file is read while a run writes it.

    Raises:
        FileError: if the file cannot be read.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise file_error("read", path, error) from error
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append({name: math.nan if value is None else value for name, value in record.items()})
    return records


def _plain(value: Any) -> Any:
    """``value`` as JSON can hold it."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
