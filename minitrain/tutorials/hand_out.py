"""The edition of a notebook for students: no outputs, solutions and checks sealed."""

from __future__ import annotations

import ast
import copy

from ..errors import ConfigError
from .notebook import Cell, Notebook, checked, sets_an_exercise, source, tags
from .sealed import seal

NOTE = (
    "*Edition for students. Write each function in place of the `...` in its cell, and hand in this file. Solutions "
    "are sealed: where the text speaks of a solution to compare with, you have a cell that lets the cells below work "
    "even if your function does not yet. Run the sealed cells, and leave them as they are.*"
)
CHECK = "# How the next cell is checked. It is sealed, since it holds the answer: run it."
SOLUTION = "# For the cells below: they need a function that works. Run it."


def for_students(notebook: Notebook) -> Notebook:
    """A copy of a notebook to hand out.

    Args:
        notebook: one with solutions, its cells tagged ``exercise``, ``solution`` and ``folded``.

    Raises:
        ConfigError: if there is no exercise, or one without a check or a solution.
    """
    if "unseal_" in str(notebook["cells"]):
        raise ConfigError("its solutions are sealed already; give the notebook that has them")
    out = copy.deepcopy(notebook)
    cells: list[Cell] = []
    variable = ""  # of the exercise whose solution comes next
    exercises = solutions = 0
    for number, cell in enumerate(out["cells"], 1):
        text, kinds = source(cell), tags(cell)
        if "hidden" in kinds:
            continue
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            if "exercise" in kinds:
                variable, exercises = _variable(text, number), exercises + 1
            elif "solution" in kinds:
                cell["source"] = _sealed_solution(_without_expressions(text), variable)
                solutions += 1
            elif sets_an_exercise(text):
                cell["source"] = _sealed_exercise(text)
            if kinds & {"solution", "folded"} or sets_an_exercise(text):
                cell["metadata"]["jupyter"] = {"source_hidden": True}
        cells.append(cell)
    if not exercises or exercises != solutions:
        raise ConfigError(
            f"it has {exercises} cells tagged 'exercise' and {solutions} tagged 'solution', and each exercise needs "
            "one; give the notebook that has solutions"
        )
    out["cells"] = [_noted(cells[0]), *cells[1:]]
    return out


def _variable(text: str, number: int) -> str:
    found = checked(text)
    if found is None:
        raise ConfigError(
            f"cell {number} is tagged 'exercise' and checks nothing; end it with a line NAME.check(FUNCTION)"
        )
    return found[0]


def _sealed_exercise(text: str) -> str:
    call = f'unseal_exercise("""\n{seal(text)}\n""", globals())'
    return f"{CHECK}\nfrom minitrain.tutorials import unseal_exercise\n\n{call}"


def _sealed_solution(text: str, variable: str) -> str:
    call = f'unseal_solution("""\n{seal(text)}\n""", globals(), {variable})'
    return f"{SOLUTION}\nfrom minitrain.tutorials import unseal_solution\n\n{call}"


def _without_expressions(text: str) -> str:
    """A solution without its check, which would count as the student's."""
    return "\n\n".join(ast.unparse(node) for node in ast.parse(text).body if not isinstance(node, ast.Expr))


def _noted(cell: Cell) -> Cell:
    """The first cell, with what students need to know below its title."""
    if cell["cell_type"] == "markdown":
        title, _, rest = source(cell).partition("\n")
        cell["source"] = f"{title}\n\n{NOTE}\n{rest}"
    return cell
