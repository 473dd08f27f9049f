"""Keys and values of sequences of different lengths, one new position each: the memory of decoding in a graph."""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from .past import KeyValues


class SlotKeyValues(KeyValues):
    """The keys and values of ``batch`` sequences in one attention layer, each with a length of its own.

    A step adds one position to every sequence. Where it goes is an array on the device, so a captured step needs no
    number of the host: shapes are the same whatever the lengths are. Queries see the whole memory, and the lengths tell
    attention how much of it counts. There is one row more than positions: where a sequence that is full, or that nobody
    continues, puts what is not wanted.

    Args:
        longest: greatest number of positions.
        kv_heads: number Hkv of key and value heads.
        head_width: width D of a head.
        like: an array of the device and the dtype to use.
        batch: number B of sequences.
    """

    def __init__(self, longest: int, kv_heads: int, head_width: int, like: Array, *, batch: int) -> None:
        super().__init__(longest + 1, kv_heads, head_width, like, batch=batch)
        xp = array_module(like)
        self._memory[...] = 0  # what does not count is multiplied by 0, and must be finite
        self._sequence = xp.arange(batch)
        self._places = xp.zeros(batch, dtype=xp.int64)
        self.key_lengths: Array = self._places + 1

    def place(self, places: Array) -> None:
        """Let the next position of each sequence be ``places`` (B,), integers; they are also the lengths so far."""
        self._places = places
        self.key_lengths[...] = places + 1

    def extend(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Add keys and values (B, 1, Hkv, D); returns those of all rows, (B, rows, Hkv, D)."""
        keys, values = self._memory
        keys[self._sequence, self._places] = k[:, 0]
        values[self._sequence, self._places] = v[:, 0]
        return keys, values

    def positions(self, T: int) -> Array:
        """(B, 1) the position of each new token."""
        column: Array = self._places[:, None]  # (B,) -> (B, 1)
        return column

    def store(self, sequence: int, other: KeyValues) -> None:
        """Take over the keys and values of a `KeyValues` of one sequence."""
        for mine, others in zip(self._memory, other.all(), strict=True):
            mine[sequence, : others.shape[1]] = others[0]

    def row(self, sequence: int, length: int) -> tuple[Array, Array]:
        """The first keys and values of one sequence, (1, length, Hkv, D) each: views."""
        keys, values = self._memory[:, sequence : sequence + 1, :length]
        return keys, values

    def copy_row(self, source: int, target: int) -> None:
        """Give one sequence the keys and values of another."""
        self._memory[:, target] = self._memory[:, source]
