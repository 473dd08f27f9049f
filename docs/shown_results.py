"""What the code of a page shows in a notebook, put below it while the site is built.

A block of Python that is followed by the comment ``<!-- result -->`` ends with an expression. All blocks of the page
are run from the top in an empty folder, and the HTML of that expression takes the place of the comment.

MkDocs calls the functions named ``on_...``; ``mkdocs.yml`` names this file under ``hooks``.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from typing import Any

RESULT = "<!-- result -->"
BLOCK = re.compile(rf"^```python\n(.*?)^```$(\n+{re.escape(RESULT)})?", re.MULTILINE | re.DOTALL)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Put the results in the places of the comments."""
    if RESULT not in page.markdown:
        return content
    shown = results(page.markdown)
    return re.sub(re.escape(RESULT), lambda _: next(shown), content)


def results(markdown: str) -> Iterator[str]:
    """The HTML of each expression that a comment follows.

    Raises:
        ValueError: if a block does not end with an expression that has HTML.
    """
    names: dict[str, Any] = {"__name__": "page"}
    with tempfile.TemporaryDirectory() as folder:
        for code, asked in BLOCK.findall(markdown):
            with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
                value = run(code, names)
            if asked:
                html = value._repr_html_() if hasattr(value, "_repr_html_") else None
                if html is None:
                    raise ValueError(f"the last line of this block shows nothing:\n{code}")
                yield html


def run(code: str, names: dict[str, Any]) -> Any:
    """Run code as a cell of a notebook; returns the value of its last expression, or ``None``."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "page", "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), "page", "eval"), names)
