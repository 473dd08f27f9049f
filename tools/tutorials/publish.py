"""The notebook that readers get: outputs of the run, nothing hidden, solutions folded or left out."""

from __future__ import annotations

import copy
from typing import Any

from .source import tags

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def published(notebook: Any, *, solutions: bool = True) -> Any:
    """A copy for readers.

    Args:
        notebook: an executed one.
        solutions: whether to keep the solutions; teachers hand out notebooks without.
    """
    out = copy.deepcopy(notebook)
    out.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    out.cells = [cell for cell in out.cells if "hidden" not in tags(cell) and (solutions or "solution" not in tags(cell))]
    for number, cell in enumerate(out.cells):
        cell.id = f"cell-{number}"  # the same for the same notebook
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":
            cell.execution_count = None
        for output in cell.get("outputs", ()):
            if "execution_count" in output:
                output.execution_count = None
        if tags(cell) & {"solution", "folded"} and cell.cell_type == "code":
            cell.metadata["jupyter"] = {"source_hidden": True}  # folded in JupyterLab
    return out
