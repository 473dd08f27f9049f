"""Every record and every evaluation as a line of JSON in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....folder.names import METRICS
from ....records.jsonl import MetricsWriter
from .record_file import FileLogger


class JsonlLogger(FileLogger[MetricsWriter]):
    """Writes what is logged to a JSONL file, ``metrics.jsonl`` in the run folder by default.

    Args:
        path: the file; missing folders are made.
    """

    file_name, position_names = METRICS, ("offset",)

    def _open(self, path: Path) -> MetricsWriter:
        return MetricsWriter(path)

    def _position(self, file: MetricsWriter) -> dict[str, Any]:
        return {"offset": file.sync()}

    def _truncate(self, file: MetricsWriter, end: Mapping[str, Any]) -> bool:
        return file.truncate(int(end.get("offset", 0)))
