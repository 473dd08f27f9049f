"""The text of a kernel as tokens, and the parts of a file that get mistakes.

This reads C++ in the style of this project and no other: binary operators stand between spaces, template arguments do
not.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

TOKEN = re.compile(
    r"""(?P<gap>//[^\n]*|/\*.*?\*/|\\\n|\s+)
      | (?P<directive>\#\s*define\s+\w+(?:\([^)]*\))?|\#[^\n]*)
      | (?P<string>"[^"]*")
      | (?P<number>0[xX][0-9a-fA-F]+[uUlL]*|(?:\d+\.\d*|\d+)(?:[eE][+-]?\d+)?[fFuUlL]*)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign><<=|>>=|->|::|\+\+|--|<=|>=|==|!=|&&|\|\||[-+*/%^|&]=|<<|>>|.)""",
    re.VERBOSE | re.DOTALL,
)
OPEN, CLOSE = "([{", ")]}"


class Token(NamedTuple):
    """A word, a number or a sign, and where it is in the text."""

    kind: str  # a group of TOKEN; a name includes its template arguments
    text: str
    start: int
    end: int


class Part(NamedTuple):
    """Tokens ``[first, last)`` of a file that belong together."""

    name: str  # of the function, or "declarations"
    first: int
    last: int
    runs: bool  # whether it runs on the device, or is read by the compiler alone


class Code:
    """A file of kernels.

    Args:
        path: below ``minitrain/kernels/cuda``.
        text: what is in it.

    Attributes:
        tokens: all but gaps.
        partner: for the index of each bracket, that of the bracket it belongs to.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.tokens = list(_tokens(text))
        self.partner = _partners(self.tokens)
        self._lines = [0, *(m.end() for m in re.finditer("\n", text))]

    def line(self, at: int) -> int:
        """The number of a line, from 1."""
        return bisect.bisect(self._lines, at)

    def lines(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of whole lines around a stretch of text."""
        stop = self.text.find("\n", max(start, end - 1))
        return self.text.rfind("\n", 0, start) + 1, len(self.text) if stop < 0 else stop

    def slice(self, first: int, last: int) -> str:
        """The text of tokens ``[first, last)``."""
        return self.text[self.tokens[first].start : self.tokens[last - 1].end] if first < last else ""

    def is_spaced(self, i: int) -> bool:
        """Whether there are gaps on both sides of a token."""
        token = self.tokens[i]
        return self.text[token.start - 1].isspace() and self.text[token.end].isspace()

    @functools.cached_property
    def pointers(self) -> set[str]:
        """Names that are declared as pointers anywhere in the file."""
        return set(re.findall(r"\*\s*(?:__restrict__\s+)?(\w+)\s*[=,;)]", self.text))

    @functools.cached_property
    def parts(self) -> list[Part]:
        """Bodies of functions and of macros, and declarations with values."""
        return list(_parts(self, 0, len(self.tokens)))


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match is not None
        assert match.lastgroup is not None
        at = match.end()
        if match.lastgroup == "gap":
            continue
        start = match.start()
        if match.lastgroup == "name":
            begin = at
            if match[0] == "template":
                begin = at + len(text[at:]) - len(text[at:].lstrip())
            end = _arguments(text, begin)
            at = end or at
        yield Token(match.lastgroup, text[start:at], start, at)


def _arguments(text: str, at: int) -> int:
    """The end of template arguments that begin at ``at``; 0 if none do."""
    if text[at : at + 1] != "<":
        return 0
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "<") - (text[i] == ">")
        if depth == 0:
            return i + 1
        if not (text[i].isalnum() or text[i] in "_ \n,:*<>="):
            return 0
    return 0


def _partners(tokens: list[Token]) -> dict[int, int]:
    partner, waiting = dict[int, int](), list[int]()
    for i, token in enumerate(tokens):
        if token.kind != "sign":
            continue
        if token.text in OPEN:
            waiting.append(i)
        elif token.text in CLOSE:
            first = waiting.pop()
            partner[first], partner[i] = i, first
    return partner


def _parts(code: Code, i: int, end: int) -> Iterator[Part]:
    """Walk over declarations; bodies of structs are declarations, too."""
    start = i
    while i < end:
        token = code.tokens[i]
        if token.kind == "directive":
            if token.text.lstrip("# ").startswith("define"):
                last = i + 1
                while last < end and not re.search(r"(?<!\\)\n", code.text[token.start : code.tokens[last].start]):
                    last += 1
                yield Part(token.text.split()[-1] if "(" not in token.text else _macro(token.text), i + 1, last, True)
                i = last - 1
            start = i + 1
        elif token.text == ";":
            if any(code.tokens[k].text == "=" for k in range(start, i)):
                yield Part("declarations", start, i, False)
            start = i + 1
        elif token.text == "(":
            i = code.partner[i]
        elif token.text == "{":
            words = [code.tokens[k].text for k in range(start, i)]
            close = code.partner[i]
            if "struct" in words:
                yield from _parts(code, i + 1, close)
            elif "=" not in words and "(" in words:
                name, after = _function(code, start, i)
                yield Part(name, after, close, True)
            else:  # a braced value
                i = close
                continue
            i = close
            start = i + 1
        i += 1


def _macro(text: str) -> str:
    return re.sub(r"#\s*define\s+|\(.*", "", text)


def _function(code: Code, start: int, brace: int) -> tuple[str, int]:
    """The name of a function, and the first token after its parameters."""
    i = start
    while i < brace:
        if code.tokens[i].text == "(":
            before = code.tokens[i - 1].text
            if before not in ("__launch_bounds__", "alignas", "__align__"):
                return before, code.partner[i] + 1
            i = code.partner[i]
        i += 1
    raise ValueError(f"{code.path}: no parameters before line {code.line(code.tokens[brace].start)}")
