"""Writes a file with all its mistakes behind switches, or with one of them."""

from __future__ import annotations

import re
from collections.abc import Collection

from .code import Code
from .places import Finder, Mistake
from .statements import find_all

HEADER = "#include <mutants.h>\n"


class Mutated:
    """A file of kernels and its mistakes.

    Args:
        path: below ``minitrain/kernels/cuda``.
        text: what is in it.
        base: the switch of mistake n is the number ``base + n``.

    Attributes:
        mistakes: all of them.
    """

    def __init__(self, path: str, text: str, base: int) -> None:
        self.path, self.text, self.base = path, text, base
        self._finder: Finder = find_all(Code(path, text))
        self.mistakes: list[Mistake] = self._finder.mistakes
        self._without: set[int] = set()
        # Of two sites in one place, the one that has all of the other within comes first.
        self._sites = sorted(
            self._finder.sites,
            key=lambda site: (site.start, -site.end, (site.start, site.end) not in site.pieces),
        )

    def behind_switch(self, number: int) -> bool:
        """Whether a mistake can be switched on in the text of ``with_switches``."""
        return self.mistakes[number].runs and number not in self._without

    def compile_apart(self, lines: Collection[int]) -> list[int]:
        """Give up the switches on some lines, which the compiler does not take; returns the mistakes concerned."""
        found = [
            number
            for site in self._sites
            for number in site.numbers
            if self.behind_switch(number)
            and any(self._line(site.start) <= line <= self._line(site.end) for line in lines)
        ]
        self._without.update(found)
        return found

    def _line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def with_switches(self) -> str:
        """The text with all mistakes, each behind its switch; lines keep their numbers."""
        return self._render(0, len(self.text), 0)

    def with_mistake(self, number: int) -> str:
        """The text with one mistake."""
        mistake = self.mistakes[number]
        return self.text[: mistake.start] + mistake.text + self.text[mistake.end :]

    def _render(self, start: int, end: int, index: int) -> str:
        out, at = [], start
        while index < len(self._sites):
            site = self._sites[index]
            index += 1
            if site.start >= end and site.start > start:
                break
            inside = start <= site.start and site.end <= end and (site.start < end or site.end > site.start)
            if not inside or site.start < at or any(number in self._without for number in site.numbers):
                continue
            out.append(self.text[at : site.start])
            for piece in site.pieces:
                if isinstance(piece, str):
                    out.append(re.sub(r"@<(\d+)>", lambda m: str(self.base + int(m[1])), piece))
                else:
                    out.append(self._render(*piece, index))
            at = site.end
        out.append(self.text[at:end])
        return "".join(out)
