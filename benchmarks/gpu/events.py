"""Messages of a part to the report while it runs: lines of JSON in a file that the parent reads along."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from minitrain.errors import MinitrainError, WorkerError

_file: list[Path] = []


def write_to(path: Path | None) -> None:
    """Where the events go; without a file they are printed."""
    _file[:] = [] if path is None else [path]


def row(table: str, key: str, **cells: Any) -> None:
    """Fill cells of a table's row. Cells that were filled before and are not named here stay.

    Args:
        table: its title.
        key: the row's first cell.
        cells: text or numbers by the name of the column, with ``_`` for a space.
    """
    named = {name.replace("_", " "): value for name, value in cells.items()}
    _emit({"kind": "row", "table": table, "key": key, "cells": named})


def say(text: str) -> None:
    """A line below the tables of the part."""
    _emit({"kind": "note", "text": text})


def setting(facts: dict[str, str]) -> None:
    """The machine that the report was measured on."""
    _emit({"kind": "setting", "setting": facts})


def begin(key: str) -> None:
    """The next attempt: if the process ends now, the report says that this ended it."""
    _emit({"kind": "begin", "key": key})


def brief(error: BaseException) -> str:
    """An error in one line: its kind, its first sentence, and where outside the libraries it came from."""
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What a child printed last says what its error was.
    text = f"{type(error).__name__}: {lines[-1 if isinstance(error, WorkerError) else 0] if lines else 'no message'}"
    if places and not isinstance(error, MinitrainError):
        text += f" ({Path(places[-1].filename).name}:{places[-1].lineno})"
    return text if len(text) <= 300 else text[:297] + "..."


def _emit(event: dict[str, Any]) -> None:
    line = json.dumps(event, default=str)
    if not _file:
        print(line, flush=True)
        return
    with _file[0].open("a") as out:
        out.write(line + "\n")
