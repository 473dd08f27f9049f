"""Numbers in the text of a notebook come from its run.

``{{ loss:.2f }}`` in a Markdown cell becomes the value of ``loss`` at that point. A range after a bar is checked:
``{{ loss:.2f | 4.17 ± 0.05 }}``, ``{{ ratio:.1f | ≥ 2 }}``, ``{{ share:.0%} | ≤ 0.1 }}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from string import Formatter
from typing import Any, NamedTuple

from .source import TutorialError

PLACE = re.compile(r"\{\{\s((?:(?!\{\{).)+?)\s\}\}", re.DOTALL)  # a line may end within
RANGE = re.compile(r"(?:(?P<middle>\S+) ± (?P<width>\S+)|(?P<sign>[≤≥]) (?P<bound>\S+))")


class Number(NamedTuple):
    """A number in the text: what is computed, how it is written, and where it must lie."""

    expression: str
    format: str
    within: str

    @classmethod
    def parse(cls, text: str) -> Number:
        """From the text between the braces.

        Raises:
            TutorialError: if the range cannot be read.
        """
        inner, _, within = " ".join(text.split()).partition(" | ")
        _, expression, spec, conversion = next(iter(Formatter().parse("{" + inner + "}")))
        if not expression or conversion:
            raise TutorialError(f"{{{{ {text} }}}} holds no expression")
        if within and not RANGE.fullmatch(within):
            raise TutorialError(f"{{{{ {text} }}}}: a range is '4.2 ± 0.1', '≥ 2' or '≤ 3', not {within!r}")
        return cls(expression, spec or "", within)

    def check(self, value: float) -> None:
        """Raise unless the value lies within the range."""
        if self.within and not lies_within(value, self.within):
            raise TutorialError(f"{self.expression} is {value:.6g}, and the text says {self.within}")


def lies_within(value: float, within: str) -> bool:
    """Whether a value lies in ``4.2 ± 0.1``, ``≥ 2`` or ``≤ 3``."""
    found = RANGE.fullmatch(within)
    assert found is not None
    if found["middle"]:
        return abs(value - float(found["middle"])) <= float(found["width"])
    return value >= float(found["bound"]) if found["sign"] == "≥" else value <= float(found["bound"])


def numbers(text: str) -> list[Number]:
    """All numbers of a text, in order.

    Raises:
        TutorialError: if one has no end, or cannot be read.
    """
    if unfinished := re.search(r"\{\{\s.*", PLACE.sub("", text)):
        raise TutorialError(f"{unfinished[0]!r} has no end ' }}}}'")
    return [Number.parse(match[1]) for match in PLACE.finditer(text)]


def question(asked: Sequence[Number]) -> str:
    """Code that prints the numbers as JSON: what is written, and the value where a range is checked."""
    entries = ", ".join(
        f"[format({n.expression}, {n.format!r}), {f'float({n.expression})' if n.within else None}]" for n in asked
    )
    return f"print(__import__('json').dumps([{entries}]))"


def filled(text: str, answer: str) -> str:
    """The text with its numbers, from what the code of ``question`` printed.

    Raises:
        TutorialError: if a number lies outside its range.
    """
    pairs: list[tuple[str, Any]] = json.loads(answer)
    for number, (_, value) in zip(numbers(text), pairs, strict=True):
        if value is not None:
            number.check(value)
    written = iter(pairs)
    return PLACE.sub(lambda _: next(written)[0], text)
