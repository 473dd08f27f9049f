"""Tables on the screen, figures in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

QUIET = 0.1  # cores
OUT = Path(__file__).parent / "out"

_console = Console()
if not _console.is_terminal:
    _console = Console(width=140)  # a file or a log: no reason to fold columns


def say(line: str) -> None:
    """Print one line."""
    _console.print(line, markup=False, highlight=False)


def say_load(cores: float | None) -> None:
    """Say how busy other programs kept the machine, and what that means for the figures."""
    if cores is not None:
        say(
            f"other programs kept {cores:.2f} cores busy"
            + (": measure again when it is quiet" if cores > QUIET else "")
        )


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
        # Figures of one machine at one time stay out of the repository.
        (OUT / ".gitignore").write_text("*\n")
        path = OUT / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    say(f"figures written to {path}")
    return path
