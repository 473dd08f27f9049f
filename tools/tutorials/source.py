"""A notebook as its author writes it: a percent-format script with tagged cells.

| tag | meaning |
|---|---|
| ``exercise`` | the reader's own cell; the built notebook has it as it is |
| ``solution`` | a solution, folded; sealed in the edition for students |
| ``folded`` | readers open it with a click: code that would give an answer away, such as every ``Exercise`` |
| ``hidden`` | runs, but readers do not see it: wrong answers, assertions |
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "tutorials"
OUT = TUTORIALS / "out"
TAGS = {"exercise", "solution", "folded", "hidden"}


class TutorialError(Exception):
    """A notebook does not run, or is not what it says. The message names the notebook and the cell."""


GALLERY = TUTORIALS / "gallery.py"
"""The page of pictures: a notebook without exercises or a number."""


def sources() -> list[Path]:
    """All numbered notebooks, in their order."""
    return sorted(TUTORIALS.glob("[0-9][0-9]_*.py"))


def chosen(only: list[str] | None) -> list[Path]:
    """The notebooks and the gallery whose names begin with one of ``only``; all without it.

    Raises:
        TutorialError: if one names no notebook.
    """
    paths = [*sources(), GALLERY]
    if not only:
        return paths
    for start in only:
        if not any(path.name.startswith(start) for path in paths):
            raise TutorialError(f"no notebook begins with {start!r}; there are {', '.join(p.stem for p in paths)}")
    return [path for path in paths if path.name.startswith(tuple(only))]


def read(path: Path) -> Any:
    """The script as a notebook of ``nbformat``.

    Raises:
        TutorialError: if a cell has an unknown tag, or sets up an exercise in sight of the reader.
    """
    import jupytext

    notebook = jupytext.read(path, fmt="py:percent")
    for cell in notebook.cells:
        if unknown := tags(cell) - TAGS:
            raise TutorialError(f"{path.name}: unknown tag {sorted(unknown)[0]!r}; known are {', '.join(sorted(TAGS))}")
        if sets_an_exercise(cell) and not tags(cell):
            raise TutorialError(f"{path.name}: an Exercise has its answer in it; tag its cell 'folded'")
    return notebook


def tags(cell: Any) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", ()))


def sets_an_exercise(cell: Any) -> bool:
    """Whether code sets up an exercise: it holds the hints and the answer."""
    return cell.cell_type == "code" and " = Exercise(" in cell.source


def first_line(cell: Any) -> str:
    """The name of a cell in messages."""
    return next((line for line in cell.source.splitlines() if line.strip()), "an empty cell")
