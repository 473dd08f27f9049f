"""Reads the formulas that a page of ``docs/ops`` prints, and evaluates them with SymPy.

What is proved is the text of the page, and no second copy of it. The language is the part of LaTeX that the pages use:
sums over an index, fractions, roots, powers, functions, bars, hats and subscripts. Two symbols next to each other are
multiplied. A sum extends to the next plus or minus.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sympy as sp

from tests.helpers.places import ROOT

PAGES = ROOT / "docs" / "ops"
TOKEN = re.compile(
    r"\\operatorname\{(\w+)\}|\\(?:bar|hat) *\\?[A-Za-z]+|\\frac\{du\}\{dx\}|\\[A-Za-z]+|\\[,;|]|"
    r"[A-Za-z]'*|\d+(?:\.\d+)?|\S"
)
ASKS = re.compile(r"\\partial|\\int")
NOTHING = {r"\left", r"\right", r"\,", r"\;"}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    r"\log": sp.log,
    r"\tanh": sp.tanh,
    r"\cos": sp.cos,
    r"\sin": sp.sin,
    "erf": sp.erf,
    r"\sqrt": sp.sqrt,
}
ENDS = {"+", "-", ")", "}", "", "|"}


def equations(page: str) -> Iterator[tuple[str, list[str]]]:
    """The equations of a page's forward and backward in order: the left side, and each right side of a chain."""
    sections = re.split(r"^## ", (PAGES / f"{page}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = "".join(section for section in sections if section.startswith(("Forward", "Backward")))
    for shown, inline in re.findall(r"^\$\$\n(.*?)\n\$\$|\$([^$]+)\$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"\\qquad(?:\\text\{[^}]*\})?", shown or inline):
            left, *right = (" ".join(side.split()) for side in part.split("="))
            if right:
                yield left, right


class Printed:
    """The formulas of a page with values for its symbols.

    Args:
        page: the name of the operation.
        values: by symbol, such as ``r"\\bar y"``: a number or expression, or a function of the subscripts.
        sizes: how many values each index of a sum takes, by its letter.
        formulas: left sides of equations of the page that define further symbols, such as ``r"\\hat x_i"``. Of several
            equations with one left side, the last counts; ``("y", 0)`` takes the first.
        functions: symbols that are followed by their argument in brackets, such as ``f'``.
        rows: symbols whose formula is for one row; with the row's number as one more subscript, it is the same.
    """

    def __init__(
        self,
        page: str,
        values: Mapping[str, Any],
        sizes: Mapping[str, int],
        formulas: list[Any],
        functions: Mapping[str, Callable[..., Any]] | None = None,
        rows: set[str] | frozenset[str] = frozenset(),
    ) -> None:
        self.rows = rows
        self.page, self.sizes, self.functions = page, dict(sizes), {**FUNCTIONS, **(functions or {})}
        self.values: dict[str, Any] = {r"\pi": sp.pi, **values}
        self.formulas: dict[str, tuple[list[str], str]] = {}
        for wanted in formulas:
            left, number = wanted if isinstance(wanted, tuple) else (wanted, -1)
            name, subscripts = _split(left)
            self.formulas[name] = subscripts, self.sides(left, number)[-1]

    def sides(self, left: str, number: int = -1) -> list[str]:
        """All right sides of the equation with this left side."""
        found = [right for side, right in equations(self.page) if side == left]
        assert found, f"docs/ops/{self.page}.md has no equation with the left side {left}"
        return found[number]

    def each(self, left: str, number: int = -1, **indices: int) -> list[Any]:
        """The value of each right side of an equation, but of those that say what is to be derived."""
        sides = [side for side in self.sides(left, number) if not ASKS.search(side)]
        return [_Reader(side, self, indices).whole() for side in sides]

    def value(self, name: str, subscripts: list[int]) -> Any:
        """What a symbol with subscripts stands for."""
        if name == r"\delta":
            return int(subscripts[0] == subscripts[1])
        if name in self.formulas:
            letters, side = self.formulas[name]
            subscripts = subscripts[1:] if name in self.rows and len(subscripts) > len(letters) else subscripts
            assert len(letters) == len(subscripts), (name, letters, subscripts)
            return _Reader(side, self, dict(zip(letters, subscripts, strict=True))).whole()
        assert name in self.values, f"docs/ops/{self.page}.md: nothing is known of {name}"
        found = self.values[name]
        return found(*subscripts) if callable(found) else found


def _split(left: str) -> tuple[str, list[str]]:
    """``r"\\bar x_{ij}"`` to its name and its subscripts."""
    name, _, subscript = left.partition("_")
    return name.strip(), re.findall(r"[a-z]", subscript)


class _Reader:
    """Reads one side of an equation from left to right."""

    def __init__(self, text: str, printed: Printed, indices: dict[str, int]) -> None:
        text = text.rstrip(" ,.")
        found = (match.group(1) or match.group(0) for match in TOKEN.finditer(text))
        self.tokens = [" ".join(token.split()) for token in found if token not in NOTHING]
        self.at, self.printed, self.indices, self.text = 0, printed, dict(indices), text

    def whole(self) -> Any:
        value = self.sum()
        assert self.at == len(self.tokens), f"{self.text}: {self.tokens[self.at :]} is left"
        return value

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, token: str | None = None) -> str:
        found = self.next
        assert token in (None, found), f"{self.text}: {token} expected before {self.tokens[self.at :]}"
        self.at += 1
        return found

    def sum(self) -> Any:
        sign = -1 if self.next == "-" else 1
        if self.next == "-":
            self.take()
        total = sign * self.product()
        while self.next in ("+", "-"):
            sign = -1 if self.take() == "-" else 1
            total = total + sign * self.product()
        return total

    def product(self) -> Any:
        value = self.power()
        while self.next not in ENDS:
            if self.next == "/":
                self.take()
                value = value / self.power()
                continue
            dot = self.next == r"\cdot"
            if dot:
                self.take()
            other = self.power()
            value = value.dot(other) if dot and isinstance(value, sp.MatrixBase) else value * other
        return value

    def power(self) -> Any:
        if self.next == "e" and "e" not in self.printed.values:
            self.take()
            self.take("^")
            return sp.exp(self.group())
        if self.next in self.printed.functions:
            function, exponent = self.printed.functions[self.take()], 1
            if self.next == "^":
                self.take()
                exponent = self.group()
            return function(self.atom()) ** exponent
        value = self.atom()
        if self.next == "^":
            self.take()
            value = value ** self.group()
        return value

    def group(self) -> Any:
        """What is in curly brackets, or one token."""
        if self.next != "{":
            return self.atom()
        self.take()
        value = self.sum()
        self.take("}")
        return value

    def atom(self) -> Any:
        token = self.take()
        if token in ("(", "{"):
            value = self.sum()
            self.take(")" if token == "(" else "}")
            return value
        if token == "|":
            value = self.sum()
            self.take("|")
            return sp.sqrt(value.dot(value))
        if token == r"\frac":
            return self.group() / self.group()
        if token == r"\sum":
            return self.over(self.subscripts(letters=True))
        if token[0].isdigit():
            return sp.Rational(token)
        if token == r"\frac{du}{dx}" or token[0].isalpha() or token[0] == "\\":
            return self.printed.value(token, self.subscripts())
        raise AssertionError(f"{self.text}: {token} is unknown")

    def subscripts(self, letters: bool = False) -> list[Any]:
        """The subscripts of a symbol as numbers, or the letters of a sum: ``_{ij}`` are two, ``_{i+D/2}`` is one."""
        if self.next != "_":
            return []
        self.take()
        if self.next != "{":
            found = [self.take()]
        else:
            self.take()
            found = []
            while self.next != "}":
                found.append(self.take())
            self.take()
        if letters:
            return found
        if "+" in found:
            return [int(sp.sympify("".join(found), locals={**self.indices, **self.printed.sizes}))]
        return [self.indices[letter] if letter in self.indices else self.printed.sizes[letter] for letter in found]

    def over(self, letters: list[str]) -> Any:
        """The sum over all values of the letters of what follows."""
        if not letters:
            return self.product()
        letter, *others = letters
        start, before, total = self.at, self.indices.get(letter), None
        for i in range(self.printed.sizes[letter]):
            self.at, self.indices[letter] = start, i
            term = self.over(others)
            total = term if total is None else total + term
        self.indices.pop(letter)
        if before is not None:
            self.indices[letter] = before
        return total
