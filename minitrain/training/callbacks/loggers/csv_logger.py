"""Every record and every evaluation as a row of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....folder.names import METRICS_TABLE
from ....records.csv_file import CsvFile
from .record_file import FileLogger


class CsvLogger(FileLogger[CsvFile]):
    """Writes what is logged to a CSV file, ``metrics.csv`` in the run folder by default.

    Columns may grow; see `CsvFile`. A resumed run cuts rows and columns that came after the checkpoint, so that the
    file ends as that of a run that was never interrupted.

    Args:
        path: the file; missing folders are made.
    """

    file_name, position_names = METRICS_TABLE, ("rows", "columns")

    def _open(self, path: Path) -> CsvFile:
        return CsvFile(path)

    def _position(self, file: CsvFile) -> dict[str, Any]:
        rows, columns = file.sync()
        return {"rows": rows, "columns": columns}

    def _truncate(self, file: CsvFile, end: Mapping[str, Any]) -> bool:
        return file.truncate(int(end.get("rows", 0)), int(end.get("columns", 0)))
