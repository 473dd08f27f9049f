"""Tables on the screen and in Markdown, results in a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import make_folder, write_atomically

QUIET = 0.1  # cores


class Table(NamedTuple):
    """Cells under the names of their columns; all columns but the first are aligned to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def console() -> Any:
    """The console; in a file or a log, columns are not folded."""
    from rich.console import Console

    screen = Console()
    return screen if screen.is_terminal else Console(width=180)


def say(line: str) -> None:
    """Print one line."""
    console().print(line, markup=False, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table."""
    import rich.table
    from rich.text import Text

    drawn = rich.table.Table(title=Text(table.title) if table.title else None, title_justify="left")
    for i, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="left" if i == 0 else "right")
    for row in table.rows:
        drawn.add_row(*map(Text, row))  # square brackets are quartiles here, not colours
    console().print(drawn)


def markdown(table: Table) -> str:
    """The table as Markdown, under its title."""
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return (f"**{table.title}**\n\n" if table.title else "") + body


def load_line(cores: float | None) -> str:
    """How busy other programs kept the machine, and whether to measure again."""
    if cores is None:
        return "the load of other programs is not known here"
    advice = ": measure again when it is quiet" if cores > QUIET else ""
    return f"other programs kept {cores:.2f} cores busy{advice}"


def write_text(path: Path, paragraphs: Iterable[str]) -> Path:
    """Write ``paragraphs`` to ``path``, with empty lines between them; returns the path.

    Raises:
        FileError: if the file cannot be written.
    """
    make_folder(path.parent)
    write_atomically(path, ("\n\n".join(part.rstrip() for part in paragraphs) + "\n").encode())
    return path


def write_json(path: Path, result: Any) -> Path:
    """Write ``result`` to ``path``; returns the path.

    Raises:
        FileError: if the file cannot be written.
    """
    return write_text(path, [json.dumps(result, indent=2)])
