"""Tables on the screen, figures in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"

_console = Console()
if not _console.is_terminal:
    _console = Console(width=140)  # a file or a log: no reason to fold columns


def say(line: str) -> None:
    """Print one line."""
    _console.print(line, markup=False, highlight=False)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; all columns but the first are aligned to the right."""
    table = Table(title=title or None, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    _console.print(table)


def write_json(path: Path | None, name: str, result: Any) -> Path:
    """Write ``result`` to ``path``, or to ``benchmarks/out/<name>.json``, and say where."""
    if path is None:
        OUT.mkdir(exist_ok=True)
        (OUT / ".gitignore").write_text("*\n")  # figures of one machine at one time: they stay out of the repository
        path = OUT / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    say(f"figures written to {path}")
    return path
