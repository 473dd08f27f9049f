"""The part of a student's notebook that counts: definitions, and nothing else."""

from __future__ import annotations

import ast
import re

from ..errors import ConfigError
from .notebook import Notebook, code_cells, first_line, source, tags

MAGIC = re.compile(r"^\s*[%!].*$", re.MULTILINE)


class Submission:
    """The functions, classes, imports and constants at the top level of a notebook, in order.

    Plots, training loops and checks of the student's are not run, so editing them changes no verdict. Of two
    functions with a name, the later one counts. Definitions that the teacher's notebook has too are left out.

    Args:
        name: its name in the marks.
        notebook: the student's, or why it cannot be read.
        known: ``definitions`` of the teacher's notebook outside exercises and solutions.
    """

    def __init__(self, name: str, notebook: Notebook | ConfigError, known: set[str]) -> None:
        self.name = name
        self.parts: list[ast.stmt] = []
        self.broken: list[str] = []
        """Faults of the file, or of cells that are no Python."""
        if isinstance(notebook, ConfigError):
            self.broken.append(str(notebook))
            return
        for cell in code_cells(notebook):
            text = MAGIC.sub("", source(cell))
            try:
                found = [node for node in ast.parse(text).body if _defines(node) and ast.dump(node) not in known]
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                what = f"{error.msg}, line {error.lineno}" if isinstance(error, SyntaxError) else str(error)
                self.broken.append(f"The cell that begins with {first_line(text)!r} is no Python: {what}")
                continue
            self.parts += found

    def has(self, name: str) -> bool:
        """Whether it defines a function."""
        return any(isinstance(node, ast.FunctionDef) and node.name == name for node in self.parts)

    @property
    def code(self) -> str:
        """All that counts, as one script."""
        return "\n\n".join(ast.unparse(node) for node in self.parts)


def definitions(notebook: Notebook) -> set[str]:
    """The definitions of a teacher's notebook outside exercises and solutions."""
    given = (cell for cell in code_cells(notebook) if not tags(cell) & {"exercise", "solution"})
    return {ast.dump(node) for cell in given for node in ast.parse(MAGIC.sub("", source(cell))).body if _defines(node)}


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) for target in node.targets) and _is_constant(node.value)
    return isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)


def _is_constant(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
