"""Marks as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError
from .grading import Mark

FORMULA = "=+-@\t\r"
"""Beginnings of a cell that a spreadsheet would run."""


def table(marks: Sequence[Mark]) -> str:
    """A line for each file, a column for each exercise; below it, what is wrong."""
    exercises = list(dict.fromkeys(mark.exercise for mark in marks))
    rows = [["", *exercises, "right"]]
    for file in dict.fromkeys(mark.file for mark in marks):
        own = {mark.exercise: mark.passed for mark in marks if mark.file == file}
        cells = ["right" if own.get(exercise) else "not yet" for exercise in exercises]
        rows.append([file, *cells, f"{sum(own.values())} of {len(exercises)}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for mark in marks:
        if not mark.passed:
            said = [*mark.findings.splitlines(), *([f"Advice: {mark.advice}"] if mark.advice else [])]
            lines += ["", f"{mark.file}, {mark.exercise}: not yet", *(f"    {line}" for line in said)]
    return "\n".join(lines)


def write_marks(marks: Sequence[Mark], path: Path) -> None:
    """Write a record for each mark.

    Args:
        marks: the marks to write.
        path: ends with ``.json`` or ``.csv``.

    Raises:
        ConfigError: if it ends otherwise.
    """
    if path.suffix == ".json":
        text = json.dumps([mark._asdict() for mark in marks], indent=2, ensure_ascii=False) + "\n"
    elif path.suffix == ".csv":
        lines = io.StringIO()
        writer = csv.writer(lines)
        writer.writerow(Mark._fields)
        writer.writerows([_harmless(str(value)) for value in mark] for mark in marks)
        text = lines.getvalue()
    else:
        raise ConfigError(f"{path}: marks are written as .json or .csv")
    path.write_text(text, encoding="utf-8", newline="")


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] and text[0] in FORMULA else text
