"""The answer to an attempt at an exercise, as text and as a box in a notebook."""

from __future__ import annotations

import html
from typing import NamedTuple

RIGHT, WRONG = "#3d9970", "#d1495b"
BOX = "border-left: 4px solid {color}; padding: 0.4em 0.8em; margin: 0.4em 0"
LINES = "white-space: pre-wrap; margin: 0.3em 0; font-family: monospace; font-size: 0.9em"


class Verdict(NamedTuple):
    """What a check found.

    Attributes:
        name: the exercise's.
        passed: whether the answer is right.
        findings: what was checked, or what is wrong.
        hint: what to think of next; empty if the answer is right.
        advice: what is known of this very mistake; empty if nothing is.
    """

    name: str
    passed: bool
    findings: str
    hint: str = ""
    advice: str = ""

    @property
    def title(self) -> str:
        """One line: the exercise, and whether it is done."""
        return f"{self.name}: right" if self.passed else f"{self.name}: not yet"

    def __repr__(self) -> str:
        lines = [self.title, self.findings]
        lines += [f"{word}: {text}" for word, text in (("Advice", self.advice), ("Hint", self.hint)) if text]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [(word, text) for word, text in (("Advice", self.advice), ("Hint", self.hint)) if text]
        words = "".join(f"<p><b>{word}.</b> {html.escape(text)}</p>" for word, text in parts)
        return (
            f'<div style="{BOX.format(color=RIGHT if self.passed else WRONG)}"><b>{html.escape(self.title)}</b>'
            f'<pre style="{LINES}">{html.escape(self.findings)}</pre>{words}</div>'
        )
