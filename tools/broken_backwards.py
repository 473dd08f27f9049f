"""Rewrites the checker's answers in the boxes *Break it* of ``docs/ops``, by running the code above each.

Run ``python -m tools.broken_backwards`` after a change of the checker's words; a test compares the two.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from minitrain.testing import GradientMismatch

PAGES = Path(__file__).resolve().parent.parent / "docs" / "ops"
BOX = re.compile(r"(## Break it\n.*?```python\n(?P<code>.*?)```\n\n```text\n)(?P<answer>.*?)(?=```)", re.DOTALL)
WIDTH = 116  # characters in a line of a page


def answer(code: str, name: str) -> str:
    """The checker's report on a wrong backward, with long lines folded.

    Args:
        code: a program that checks the backward.
        name: of the page, for a traceback.

    Raises:
        AssertionError: if the checker notices nothing.
    """
    try:
        exec(compile(code, f"docs/ops/{name}.md", "exec"), {})
    except GradientMismatch as mismatch:
        return "".join(_folded(line) for line in f"GradientMismatch: {mismatch}".splitlines())
    raise AssertionError(f"docs/ops/{name}.md: the checker notices nothing wrong")


def _folded(line: str) -> str:
    inner = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, WIDTH, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        path.write_text(BOX.sub(lambda box, name=path.stem: box[1] + answer(box["code"], name), text), encoding="utf-8")
