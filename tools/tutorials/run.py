"""Executes a notebook in an empty folder, fills in its numbers and checks its exercises."""

from __future__ import annotations

import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from .numbers import filled, numbers, question
from .source import TutorialError, first_line, read, tags

BUDGET = 60.0
"""Seconds that a notebook may take on two quiet cores."""
PATIENCE = 240
"""Seconds after which a cell counts as hanging: machines are busy."""
WRONG_ANSWERS = 3
"""Typical mistakes that the author of an exercise shows to get the right hint."""
COLORS = re.compile(r"\x1b\[[0-9;]*m")
ASKED = "numbers"  # the tag of inserted cells

SET_UP = """
import matplotlib.pyplot as _plt
%config InlineBackend.figure_formats = ["png"]
%config InlineBackend.rc = {"figure.dpi": 110}
"""
EXERCISES = """
from minitrain.tutorials import Exercise as _Exercise
print(__import__("json").dumps([
    [e.name, e.passed, len(e.mistakes)] for e in list(globals().values()) if isinstance(e, _Exercise)
]))
"""


class Run(NamedTuple):
    """A notebook that was executed."""

    notebook: Any
    seconds: float
    exercises: int


def run(path: Path) -> Run:
    """Execute a notebook.

    Raises:
        TutorialError: if a cell fails or writes to the error stream, a number lies outside its range, or an
            exercise has no solution that passes or too few wrong answers.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = read(path)
    notebook.cells = with_questions(notebook.cells)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=PATIENCE,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=40"],  # errors alone: it would warn of its own port
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as error:  # the kernel has died
            raise TutorialError(f"{path.name}: {COLORS.sub('', str(error))}") from None
    seconds = time.perf_counter() - start
    for cell in notebook.cells:
        check_streams(path, cell)
    count = check_exercises(path, printed(notebook.cells.pop()))
    notebook.cells = answered(path, notebook.cells)
    nbformat.validate(notebook)
    return Run(notebook, seconds, count)


def with_questions(cells: list[Any]) -> list[Any]:
    """The cells, with code for the numbers before each text, the style of plots first and the exercises last."""
    from nbformat.v4 import new_code_cell

    asking = {"tags": [ASKED]}
    out = [new_code_cell(SET_UP, metadata=asking)]
    for cell in cells:
        if cell.cell_type == "markdown" and (asked := numbers(cell.source)):
            out.append(new_code_cell(question(asked), metadata=asking))
        out.append(cell)
    return [*out, new_code_cell(EXERCISES, metadata=asking)]


def answered(path: Path, cells: list[Any]) -> list[Any]:
    """The author's cells again, with the numbers in their texts."""
    out, answer = [], ""
    for cell in cells:
        if ASKED in cell.metadata.get("tags", ()):
            answer = printed(cell)
            continue
        if cell.cell_type == "markdown" and numbers(cell.source):
            try:
                cell.source = filled(cell.source, answer)
            except TutorialError as error:
                raise TutorialError(f"{path.name}: {error}") from None
        out.append(cell)
    return out


def printed(cell: Any) -> str:
    """The output of a cell."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def check_streams(path: Path, cell: Any) -> None:
    """Raise if a cell wrote to the error stream: a warning that readers would see."""
    for output in cell.get("outputs", ()):
        if output.output_type == "stream" and output.name == "stderr":
            raise TutorialError(f"{path.name}: the cell '{first_line(cell)}' writes to stderr:\n{output.text}")


def check_exercises(path: Path, answer: str) -> int:
    """The number of exercises; raise unless each has a solution that passes, and enough wrong answers."""
    found = json.loads(answer)
    for name, passed, mistakes in found:
        if not passed:
            raise TutorialError(f"{path.name}: no solution of the exercise {name!r} passes")
        if mistakes < WRONG_ANSWERS:
            raise TutorialError(
                f"{path.name}: the exercise {name!r} shows {mistakes} wrong answers (expect), not {WRONG_ANSWERS}"
            )
    if not found and any("exercise" in tags(cell) for cell in read(path).cells):
        raise TutorialError(f"{path.name}: cells are tagged 'exercise', but there is no Exercise")
    return len(found)
