"""The answer to an attempt at an exercise, as text and as a box in a notebook."""

from __future__ import annotations

from typing import NamedTuple

from ..display.markup import GREEN, LINES, RED, block, element, shown
from ..testing.report import GradientMismatch, GradientReport, table_of_arguments

BOX = "border-left:4px solid {color};padding:.2em .8em"


class Verdict(NamedTuple):
    """The findings of a check.

    Attributes:
        name: the exercise's.
        passed: whether the answer is right.
        findings: the checks that were made, or the faults.
        hint: the next thing to think of; empty if the answer is right.
        advice: advice about this very mistake; empty if there is none.
        gradients: the report of the gradient checker, if it could judge the answer.
    """

    name: str
    passed: bool
    findings: str
    hint: str = ""
    advice: str = ""
    gradients: GradientReport | GradientMismatch | None = None

    @property
    def title(self) -> str:
        """One line: the exercise, and whether it is done."""
        return f"{self.name}: right" if self.passed else f"{self.name}: not yet"

    def __repr__(self) -> str:
        lines = [self.title, self.findings]
        lines += [f"{word}: {text}" for word, text in (("Advice", self.advice), ("Hint", self.hint)) if text]
        return "\n".join(lines)

    @shown
    def _repr_html_(self) -> str:
        match self.gradients:
            case GradientReport(arguments):
                found = table_of_arguments((), arguments)
            case GradientMismatch(mismatches=mismatches, passed=passed):
                found = table_of_arguments(mismatches, passed)
            case None:
                found = element("pre", self.findings, style=LINES)
        told = [(word, text) for word, text in (("Advice.", self.advice), ("Hint.", self.hint)) if text]
        words = [element("div", element("b", word), " ", text) for word, text in told]
        style = BOX.format(color=GREEN if self.passed else RED)
        return block(element("div", element("b", self.title), found, *words, style=style))
