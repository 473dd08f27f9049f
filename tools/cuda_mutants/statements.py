"""Mistakes in statements: one that is left out, a barrier that comes too late, a branch or a loop."""

from __future__ import annotations

import re

from . import expressions
from .code import Code, Part
from .places import Finder

BARRIERS = re.compile(r"__syncthreads|__syncwarp|__threadfence|cp_async_commit|cp_async_wait<\d+>")
KEPT = ("return", "continue", "break")  # their conditions get mistakes


def find_all(code: Code) -> Finder:
    """Every mistake of a file."""
    finder = Finder(code)
    for part in code.parts:
        finder.enter(part)
        if part.runs:
            _Walk(code, part, finder).statements(part.first, part.last)
        expressions.find(code, part, finder)
    return finder


class _Walk:
    """Goes through the statements of a function."""

    def __init__(self, code: Code, part: Part, finder: Finder) -> None:
        self.code, self.part, self.finder = code, part, finder

    def text(self, i: int) -> str:
        return self.code.tokens[i].text

    def statements(self, i: int, end: int) -> None:
        """The statements of a block."""
        while i < end:
            i = self.statement(i, end)

    def statement(self, i: int, end: int) -> int:
        """One statement; the token after it."""
        text = self.text(i)
        if self.code.tokens[i].kind == "directive" or text in (";", "{", "}", "else", ":", ","):
            return i + 1
        if text == "if":
            return self.branch(i)
        if text == "for":
            return self.loop(i)
        last = self.end_of(i, end)
        if text == "constexpr" or (text == "static" and self.text(i + 1) == "constexpr"):
            self.finder.enter(Part(self.part.name, i, last, False))
            expressions.find(self.code, Part(self.part.name, i, last, False), self.finder)
            self.finder.enter(self.part)
            self.finder.skipped.update(range(i, last + 1))
        elif text == "extern":
            self.finder.skipped.update(range(i, last + 1))
        elif self.is_declaration(i):
            self.declaration(i, last)
        elif BARRIERS.fullmatch(text):
            self.barrier(i, last, end)
        elif text not in KEPT and self.part.last != i and last < end:
            start, stop = self.code.tokens[i].start, self.code.tokens[last].end
            number = self.finder.note("statement", start, stop, ";")
            self.finder.place(start, stop, ["{ if (!mut::is(@0)) ", (i, last + 1), " }"], [number])
        return last + 1

    def end_of(self, i: int, end: int) -> int:
        """The semicolon of a statement."""
        while i < end and self.text(i) != ";":
            i = self.code.partner[i] + 1 if self.text(i) in ("(", "[", "{") else i + 1
        return i

    def branch(self, i: int) -> int:
        constant = self.text(i + 1) == "constexpr"
        opening = i + 1 + constant
        close = self.code.partner[opening]
        if constant:
            self.finder.skipped.update(range(i, close + 1))
        else:
            expressions.condition(self.code, opening + 1, close, self.finder)
        return close + 1

    def loop(self, i: int) -> int:
        close = self.code.partner[i + 1]
        first = self.end_of(i + 2, close) + 1
        last = self.end_of(first, close)
        pieces = ["mut::loops(@0, ", (first, last), ")"]
        self.finder.site(first, last, pieces, [("condition", "false")])
        if self.is_declaration(i + 2):
            self.sizes(i + 2, first - 1)
        return close + 1

    def is_declaration(self, i: int) -> bool:
        """Whether a statement begins with a type: a name that another name follows, or a pointer."""
        if self.code.tokens[i].kind != "name" or self.text(i) in KEPT:
            return False
        following = self.code.tokens[i + 1]
        pointer = following.text in ("*", "&") and not self.code.is_spaced(i + 1)
        return following.kind == "name" or pointer

    def declaration(self, i: int, last: int) -> None:
        """Sizes of arrays are left alone; a function within has statements of its own."""
        self.sizes(i, last)
        for k in range(i, last):
            if self.text(k) == "{" and self.text(k - 1) == ")":
                self.statements(k + 1, self.code.partner[k])

    def sizes(self, i: int, last: int) -> None:
        named = True  # whether names are declared here, not values given
        while i < last:
            text = self.text(i)
            if text == "[" and named:
                self.finder.skipped.update(range(i, self.code.partner[i] + 1))
                i = self.code.partner[i]
                if self.text(i + 1) == "[":  # x[a][b]
                    self.finder.skipped.add(i)
            elif text in ("(", "{", "["):
                i = self.code.partner[i]
            elif text == "=":
                named = False
            elif text == ",":
                named = True
            i += 1

    def barrier(self, i: int, last: int, end: int) -> None:
        """Left out; after the next statement; or a wait for one group fewer."""
        code, tokens = self.code, self.code.tokens
        start, stop, call = tokens[i].start, tokens[last].end, code.slice(i, last + 1)
        numbers = [self.finder.note("barrier", start, stop, ";")]
        off = "!mut::is(@0)"
        pieces: list[str | tuple[int, int]] = []
        if wait := re.fullmatch(r"cp_async_wait<(\d+)>", self.text(i)):
            fewer = f"cp_async_wait<{int(wait[1]) + 1}>();"
            numbers.append(self.finder.note("barrier", start, stop, fewer))
            pieces.append(f"if (mut::is(@1)) {fewer} else ")
        following = last + 1
        after = self.end_of(following, end) if following < end else end
        simple = after < end and self.text(following) not in ("if", "for", "return", "}", "{", "else")
        if simple and tokens[following].kind == "name":
            there = tokens[after].end
            moved = code.text[stop:there] + f" {call}"
            numbers.append(self.finder.note("barrier", start, there, moved.strip()))
            off += f" && !mut::is(@{len(numbers) - 1})"
            self.finder.place(there, there, [f" if (mut::is(@0)) {{ {call} }}"], numbers[-1:])
        self.finder.place(start, stop, ["{ ", *pieces, f"if ({off}) ", (i, last + 1), " }"], numbers)
