"""Keys and values of earlier positions, kept so that a sequence can grow without computing them again.

The memory is taken once. With a sliding window, only keys that a later query may see are kept: when the rows run out,
those keys move to the front. Rows are dropped in whole blocks of ``BLOCK`` positions, the blocks in which the kernels
sum over keys, so that the same keys are summed in the same order as in a pass over the whole sequence.
"""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array, array_module
from ...errors import ShapeError

BLOCK = 64
"""Positions that the kernels take together (``kernels/cpu/common/attention_blocks.py``)."""
ROOM = 256
"""Rows beyond the window, which are filled before keys move."""


class KeyValues:
    """The keys and values of some sequences of one length in one attention layer.

    Args:
        longest: greatest number of positions.
        kv_heads: number Hkv of key and value heads.
        head_width: width D of a head.
        like: an array of the device and the dtype to use.
        window: how many keys a query sees, including its own; ``None`` for all.
        batch: number B of sequences.

    Attributes:
        length: number of positions so far.
        key_lengths: (B,) how many of the keys count for each sequence; ``None`` for all of them.
    """

    key_lengths: Array | None = None

    def __init__(
        self, longest: int, kv_heads: int, head_width: int, like: Array, *, window: int | None = None, batch: int = 1
    ) -> None:
        self.longest, self.window, self.length = longest, window, 0
        shape = (2, batch, rows_needed(longest, window), kv_heads, head_width)
        self._memory: Array = array_module(like).empty(shape, like.dtype)  # keys and values (B, rows, Hkv, D)
        self._first = 0  # the position in row 0

    def extend(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Add keys and values (B, T, Hkv, D) of the next T positions.

        Returns:
            k and v (B, S, Hkv, D) with S at least T: those of all positions that the new ones may see. They are views,
            which hold until the next call.

        Raises:
            ShapeError: if there is no room for them.
        """
        T = k.shape[1]
        if self.room() < T:
            raise ShapeError(
                f"KeyValues: {T} positions do not fit after {self.length}; there is room for {self.room()}"
            )
        if self.length - self._first + T > self._memory.shape[2]:
            self._drop_rows(self._kept())
        rows = slice(self.length - self._first, self.length - self._first + T)
        self._memory[0, :, rows], self._memory[1, :, rows] = k, v
        self.length += T
        return self.all()

    def all(self) -> tuple[Array, Array]:
        """Keys and values (B, S, Hkv, D) of the positions so far that a next one may see, as views."""
        k, v = self._memory[:, :, : self.length - self._first]
        return k, v

    def room(self) -> int:
        """How many positions the next call may add."""
        rows: int = self._memory.shape[2]
        return min(self.longest - self.length, rows - (self.length - self._kept()))

    def cut(self, length: int) -> bool:
        """Forget all positions from ``length`` on.

        Returns:
            Whether what is left can go on: with a window, keys that it would need may be gone. Then nothing is left.
        """
        self.length = min(length, self.length)
        enough = self._kept() >= self._first
        if not enough:
            self.length = 0
        if self.length == 0:
            self._first = 0
        return enough

    def copy_from(self, other: KeyValues) -> None:
        """Become equal to ``other``, which has the same settings; each sequence, if it has one alone."""
        self.length, self._first = other.length, other._first
        for mine, others in zip(self.all(), other.all(), strict=True):
            mine[...] = others

    def select(self, rows: Array) -> None:
        """Make sequence ``i`` what sequence ``rows[i]`` was; ``rows`` is (B,) integers."""
        for kept in self.all():  # keys, and values
            kept[...] = kept[rows]  # indexing with an array copies

    def keep_last(self, sequence: int) -> None:
        """Give all sequences the last position of one of them, of which they may differ."""
        row = self.length - self._first - 1
        self._memory[:, :, row] = self._memory[:, sequence : sequence + 1, row]

    def positions(self, T: int) -> Array:
        """(T,) the next positions."""
        return array_module(self._memory).arange(self.length, self.length + T)  # type: ignore[no-any-return]

    def _kept(self) -> int:
        """The first position that the next query's block may see."""
        return first_seen(self.length, self.longest if self.window is None else self.window)

    def _drop_rows(self, first: int) -> None:
        """Move the rows from position ``first`` on to the front."""
        self._memory[:, :, : self.length - first] = self._memory[
            :, :, first - self._first : self.length - self._first
        ].copy()
        self._first = first


def first_seen(length: int, window: int) -> int:
    """The first position that a query at position ``length`` or in its block may see, down to a multiple of ``BLOCK``.

    Args:
        length: a position.
        window: how many keys a query sees, including its own.
    """
    return max(0, (length // BLOCK * BLOCK - window + 1) // BLOCK * BLOCK)


def rows_needed(longest: int, window: int | None) -> int:
    """Rows of memory for a sequence of at most ``longest`` positions."""
    return longest if window is None else min(longest, window + 2 * BLOCK + ROOM)


def bytes_needed(longest: int, window: int | None, kv_heads: int, head_width: int, dtype: Any) -> int:
    """Memory of a `KeyValues`, in bytes."""
    return int(2 * rows_needed(longest, window) * kv_heads * head_width * dtype.itemsize)
