"""Where a text ends, by trying everything."""

from __future__ import annotations

import itertools


def ending_of(pieces: list[str], stop: list[str], least: int = 0) -> tuple[int, str] | None:
    """How many pieces it takes to know where the text ends, and at which string; ``None`` for no string.

    By trying all continuations: the end is known when no further text can change it. ``#`` is in no string.
    """
    skipped = len("".join(pieces[: max(0, least - 1)]))
    letters = "".join(sorted(set("".join(stop)))) + "#"

    def first(text: str) -> tuple[int, int, str] | None:
        found = [(at, len(one), one) for one in stop if (at := text.find(one, skipped)) >= 0]
        return min(found, default=None)

    longest = max(map(len, stop))
    more = ["".join(one) for n in range(longest) for one in itertools.product(letters, repeat=n)]
    for n in range(max(1, least), len(pieces) + 1):
        text = "".join(pieces[:n])
        found = first(text)
        if found and all(first(text + rest) == found for rest in more):
            return n, found[2]
    found = first("".join(pieces))
    return found and (len(pieces), found[2])
