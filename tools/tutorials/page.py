"""A published notebook as a page of the site: Markdown, with pictures as files beside it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from .publish import INSTALL
from .source import TutorialError, first_line, sets_an_exercise, tags

DOWNLOAD = f"[Download this notebook]({{name}}.ipynb) and run it: {INSTALL}.\n"


def write_page(notebook: Any, name: str, folder: Path) -> None:
    """Write ``NAME.md`` and ``NAME_files/``, without the pictures of an earlier run.

    Args:
        notebook: a published one.
        name: its name without an ending.
        folder: where to write.
    """
    from nbconvert import MarkdownExporter
    from nbformat.v4 import new_markdown_cell

    pages = copy.deepcopy(notebook)
    pages.cells = [new_markdown_cell(folded(cell)) if is_folded(cell) else cell for cell in pages.cells]
    body, resources = MarkdownExporter().from_notebook_node(
        pages, resources={"unique_key": name, "output_files_dir": f"{name}_files"}
    )
    title, _, rest = body.lstrip().partition("\n")
    shutil.rmtree(folder / f"{name}_files", ignore_errors=True)  # pictures of an earlier run
    (folder / f"{name}_files").mkdir()
    (folder / f"{name}.md").write_text(f"{title}\n\n{DOWNLOAD.format(name=name)}{rest}", encoding="utf-8")
    for path, data in resources["outputs"].items():
        (folder / path).write_bytes(data)


def is_folded(cell: Any) -> bool:
    """Whether a click opens the cell: a solution, or other code to fold."""
    return cell.cell_type == "code" and bool(tags(cell) & {"solution", "folded"})


def folded(cell: Any) -> str:
    """Code with what it printed, as a block that opens on a click.

    Raises:
        TutorialError: if it shows a picture, which readers would not see.
    """
    lines = ["```python", *cell.source.splitlines(), "```"]
    for output in cell.outputs:
        if "data" in output and "image/png" in output.data:
            raise TutorialError(f"the folded cell {first_line(cell)!r} shows a picture; draw it in the next cell")
        if "data" in output and "text/html" in output.data:
            lines += ["", *output.data["text/html"].splitlines()]
        elif output.output_type == "stream":
            lines += ["", "```text", *output.text.splitlines(), "```"]
    title = 'success "Solution"' if "solution" in tags(cell) else 'note "Code"'
    if sets_an_exercise(cell):
        title = 'note "How it is checked, with the hints and the answer"'
    return f"??? {title}\n\n" + "\n".join(f"    {line}".rstrip() for line in lines)
