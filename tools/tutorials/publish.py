"""The notebooks that readers get: outputs of the run, nothing hidden, solutions folded or left out."""

from __future__ import annotations

import copy
import re
from typing import Any

from .source import tags

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
INSTALL = "`pip install minitrain jupyterlab scikit-learn`"
TO_NOTEBOOK = re.compile(r"\]\((\d\d_\w+)\.md\)")
TO_PAGE = re.compile(r"\[([^\]]+)\]\(\.\./([\w/]+\.md)\)")


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


def for_download(notebook: Any) -> Any:
    """A copy that stands alone in a folder: it says what to install, and no link leads to a page that is not there.

    Args:
        notebook: a published one. Its links to pages of the documentation become their names.
    """
    out = copy.deepcopy(notebook)
    for number, cell in enumerate(out.cells):
        if cell.cell_type == "markdown":
            cell.source = TO_PAGE.sub(r"\1 (`docs/\2`)", TO_NOTEBOOK.sub(r"](\1.ipynb)", cell.source))
            if number == 0:
                title, _, rest = cell.source.partition("\n")
                cell.source = f"{title}\n\nWhat it needs: {INSTALL}.\n{rest}"
    return out
