"""Where a file can have mistakes: what each would read, and how all of them stand in one text behind switches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .code import Code, Part

KINDS = (
    "barrier", "comparison", "condition", "constant", "operator", "term", "sign", "index", "extreme", "call",
    "statement",
)  # fmt: skip
Piece = str | tuple[int, int]
"""New text, or tokens of the old."""


class Mistake(NamedTuple):
    """One mutant: the text ``[start, end)`` of a file becomes ``text``. It is what `MutationReport` lists."""

    kind: str  # one of KINDS
    line: int
    before: str  # the line as it is
    after: str  # the line with the mistake; a second such line of a function ends with its number
    function: str
    start: int
    end: int
    text: str
    runs: bool  # whether it can stand behind a switch


class Site(NamedTuple):
    """Text ``[start, end)`` that is written anew, with switches."""

    start: int
    end: int
    pieces: tuple[str | tuple[int, int], ...]  # new text, or stretches of the old
    numbers: tuple[int, ...]  # of the mistakes


class Finder:
    """Collects the mistakes of a file.

    Args:
        code: the file.

    Attributes:
        mistakes: all, in the order in which they were found; a mistake's number is its place.
        sites: where they are.
        skipped: tokens that are no expressions, such as the sizes in a declaration.
    """

    def __init__(self, code: Code) -> None:
        self.code, self.mistakes, self.sites = code, list[Mistake](), list[Site]()
        self.skipped = set[int]()
        self._part: Part | None = None
        self._seen: dict[tuple[str, str], int] = {}

    def enter(self, part: Part) -> None:
        """Put all places found from here on into ``part``."""
        self._part = part

    def site(
        self, first: int, last: int, pieces: Sequence[Piece], instead: Sequence[tuple[str, str]],
        edits: Sequence[tuple[str, int, int, str]] = (),
    ) -> None:  # fmt: skip
        """Note the mistakes of tokens ``[first, last)``.

        Args:
            first: token.
            last: token.
            pieces: the tokens with switches; ``@0`` stands for the number of the first mistake, ``@1`` for the next.
            instead: kinds of mistakes, and what stands in the place of all the tokens.
            edits: kinds of mistakes, the tokens that change, and what stands in their place.
        """
        tokens = self.code.tokens
        every = [*((kind, first, last, text) for kind, text in instead), *edits]
        numbers = [self.note(kind, tokens[a].start, tokens[b - 1].end, text) for kind, a, b, text in every]
        if self._part is not None and self._part.runs:
            self.place(tokens[first].start, tokens[last - 1].end, pieces, numbers)

    def note(self, kind: str, start: int, end: int, text: str) -> int:
        """Add a mistake; its number."""
        assert self._part is not None
        code, name = self.code, self._part.name
        first, last = code.lines(start, end)
        before = " ".join(code.text[first:last].split())
        after = " ".join((code.text[first:start] + text + code.text[end:last]).split())
        key = name, after
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] > 1:
            after = f"{after}  [{self._seen[key]}]"
        line = code.line(start)
        self.mistakes.append(Mistake(kind, line, before, after, name, start, end, text, self._part.runs))
        return len(self.mistakes) - 1

    def place(self, start: int, end: int, pieces: Sequence[Piece], numbers: Sequence[int]) -> None:
        """Add a site for mistakes that were noted."""
        tokens, written = self.code.tokens, list[str | tuple[int, int]]()
        for piece in pieces:
            if isinstance(piece, str):
                for k, number in enumerate(numbers):
                    piece = piece.replace(f"@{k}", f"@<{number}>")
                written.append(piece)
            else:
                written.append((tokens[piece[0]].start, tokens[piece[1] - 1].end))
        self.sites.append(Site(start, end, tuple(written), tuple(numbers)))
