"""A part of an array, where each rank keeps one and nobody the whole."""

from __future__ import annotations

from typing import NamedTuple

from ..backend.arrays import Array


class Piece(NamedTuple):
    """A part of an array that a rank has: the ranks together have all of it, in the order of their ranks.

    Attributes:
        data: (n,) consecutive elements; n may be 0.
        shape: of the whole array.
        start: which element of the whole, flat array is the first.
    """

    data: Array
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes that this rank holds."""
        return int(self.data.nbytes)

    def of(self, whole: Array) -> Array:
        """The same part of another array of that shape."""
        return whole.reshape(-1)[self.start : self.start + self.data.size]
