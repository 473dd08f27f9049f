"""Where a text ends: at the first of several strings, wherever its pieces were cut."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConfigError


class StopStrings:
    """Lets a text through up to the first stop string, piece by piece.

    This is what a stop string means everywhere in minitrain: the text ends before the earliest occurrence of any of
    the strings. What comes out is ``text[:n]``, where ``n`` is the lowest index at which one of the strings begins, or
    all of the text. It does not depend on how the text was cut into pieces.

    Text that may be the beginning of a stop string is held back until it is known. So a string that is complete does
    not end the text at once if another one, which began earlier, may still become complete: with the strings ``bc`` and
    ``abcd``, the text ``abc`` goes on, and ends before ``abcd`` or before ``bc``.

    Args:
        stops: strings of one character or more; may be none.
        after: so many pieces are let through as they are. A string must begin after them.

    Attributes:
        found: the stop string at which the text ended; ``None`` as long as it goes on. Of several that begin at the
            same place, it is the shortest, which is the first to be complete.

    Raises:
        ConfigError: if a string is empty.

    Examples:
        >>> stop = StopStrings(["###"])
        >>> [stop.add(piece) for piece in ("one#", "two #", "##three")], stop.found
        (['one', '#two ', ''], '###')
    """

    def __init__(self, stops: Iterable[str], *, after: int = 0) -> None:
        self.stops = (stops,) if isinstance(stops, str) else tuple(stops)
        if not all(isinstance(stop, str) and stop for stop in self.stops):
            raise ConfigError(f"stop strings must be strings of one character or more, not {self.stops!r}")
        self.found: str | None = None
        self._held, self._overlooked = "", after  # pieces that are still to come

    def add(self, piece: str) -> str:
        """The text that ``piece`` lets through; empty once a stop string was found."""
        if self.found is not None:
            return ""
        if self._overlooked > 0:
            self._overlooked -= 1
            return piece
        text = self._held + piece
        at, stop = self._first(text)
        begun = self._begun(text)
        if stop is not None and at <= begun:  # one that begins earlier would be the first, were it completed
            self.found, self._held = stop, ""
            return text[:at]
        border = min(at, begun)
        self._held = text[border:]
        return text[:border]

    def finish(self) -> str:
        """The text that was held back, at the end of everything; up to a stop string in it."""
        text, self._held = self._held, ""
        at, stop = self._first(text)
        if self.found is None:
            self.found = stop
        return text[:at]

    def _first(self, text: str) -> tuple[int, str | None]:
        """Where the first complete stop string begins, and which it is; the length of the text if there is none."""
        places = [(at, len(stop), stop) for stop in self.stops if (at := text.find(stop)) >= 0]
        at, _, stop = min(places, default=(len(text), 0, None))
        return at, stop

    def _begun(self, text: str) -> int:
        """Where the first stop string that may still become complete begins; the length of the text if none does."""
        longest = max(map(len, self.stops), default=0)
        for start in range(max(0, len(text) - longest + 1), len(text)):
            rest = text[start:]
            if any(stop.startswith(rest) for stop in self.stops):
                return start
        return len(text)
