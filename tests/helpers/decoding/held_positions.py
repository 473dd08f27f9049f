"""Which positions' keys a session holds, by the definition."""

from __future__ import annotations

from minitrain.nn.attention.past import BLOCK


def needed(length: int, window: int | None) -> int:
    """Of the blocks of keys, the first that a query in the block of the next position sees begins here."""
    first_query = length - length % BLOCK
    seen = 0 if window is None else max(0, first_query - (window - 1))
    return seen - seen % BLOCK


class HeldPositions:
    """A range of positions: those from ``first`` to ``length``.

    Args:
        longest: the most positions there may be.
        rows: of memory.
        window: how many keys a query sees, or ``None`` for all.
    """

    def __init__(self, longest: int, rows: int, window: int | None) -> None:
        self.longest, self.rows, self.window = longest, rows, window
        self.first = self.length = 0

    def room(self) -> int:
        """How many positions may come next."""
        return min(self.longest - self.length, self.rows - (self.length - needed(self.length, self.window)))

    def extend(self, T: int) -> None:
        """Add positions; only if there are too few rows, those that no query will see are dropped."""
        if self.length - self.first + T > self.rows:
            self.first = needed(self.length, self.window)
        self.length += T

    def cut(self, length: int) -> bool:
        """Forget the positions from ``length`` on; all of them if a next one would need what was dropped."""
        self.length = min(length, self.length)
        enough = needed(self.length, self.window) >= self.first
        if not enough:
            self.length = 0
        if not self.length:
            self.first = 0
        return enough
