"""Notebook files of Jupyter as plain dictionaries, and what the tags of their cells say."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ConfigError

Notebook = dict[str, Any]
Cell = dict[str, Any]
LARGEST = 100 * 2**20
"""Bytes of the largest notebook that is read."""


def read_notebook(path: str | Path) -> Notebook:
    """Read an ``.ipynb`` file of version 4, the one that Jupyter, Colab and VS Code write.

    Raises:
        ConfigError: if it cannot be read, or is not such a notebook.
    """
    try:
        path = Path(path)
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"{path} has more than {LARGEST >> 20} MiB; clear its outputs, and save it again")
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as a notebook: {error}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise ConfigError(f"{path} is not a notebook of version 4; open it in Jupyter, and save it as .ipynb")
    for number, cell in enumerate(notebook["cells"], 1):
        _check_cell(cell, f"{path}, cell {number}")
    return notebook


def write_notebook(notebook: Notebook, path: Path) -> None:
    """Write an ``.ipynb`` file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def source(cell: Cell) -> str:
    """The text of a cell; files hold it as a string or as a list of lines."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def tags(cell: Cell) -> set[str]:
    """The tags of a cell."""
    return set(cell.get("metadata", {}).get("tags", ()))


def code_cells(notebook: Notebook) -> Iterator[Cell]:
    """The cells with code, in order."""
    return (cell for cell in notebook["cells"] if cell["cell_type"] == "code")


def sets_an_exercise(text: str) -> bool:
    """Whether code makes an `Exercise`: it holds the hints and the answer."""
    return " = Exercise(" in text


def checked(text: str) -> tuple[str, str] | None:
    """The variable of the exercise and the whole expression of ``slope.check(central_difference)``.

    Args:
        text: the code of a cell; the last check at its top level counts. None if there is none.
    """
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.Expr) and isinstance(call := node.value, ast.Call):
            function = call.func
            if (
                isinstance(function, ast.Attribute)
                and function.attr == "check"
                and isinstance(function.value, ast.Name)
            ):
                return function.value.id, ast.unparse(call)
    return None


def functions(text: str) -> list[str]:
    """The names of the functions that code defines at its top level."""
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]


def first_line(text: str) -> str:
    """The name of a cell in messages."""
    return next((line[:80] for line in text.splitlines() if line.strip()), "nothing")


def _check_cell(cell: Any, where: str) -> None:
    text = cell.get("source") if isinstance(cell, dict) else None
    is_text = isinstance(text, str) or (isinstance(text, list) and all(isinstance(line, str) for line in text))
    if not is_text or not isinstance(cell.get("cell_type"), str):
        raise ConfigError(f"{where}: it has no type or no source")
    metadata = cell.get("metadata", {})
    found = metadata.get("tags", []) if isinstance(metadata, dict) else None
    if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
        raise ConfigError(f"{where}: its tags are not a list of words")
