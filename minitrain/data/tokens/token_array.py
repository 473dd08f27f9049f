"""Token ids in several arrays, read as if they were one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError


class TokenArray(Protocol):
    """The interface of ``(N,)`` token ids for loaders: a NumPy array, a memory map or `JoinedTokens`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N,)``."""
        ...

    @property
    def ndim(self) -> int:
        """1."""
        ...

    @property
    def size(self) -> int:
        """N."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """An integer type."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Ids at a position, a slice, or an array of positions."""
        ...


class JoinedTokens:
    """Several arrays of token ids as one, without copying them.

    A read returns a copy; it may span several arrays.

    Attributes:
        parts: the arrays, ``(N_i,)`` each, of one integer type.

    Raises:
        DataError: if there are none, or their types differ.
    """

    def __init__(self, parts: Sequence[NDArray[Any]]) -> None:
        self.parts = list(parts)
        kinds = sorted({part.dtype.name for part in self.parts})
        if len(kinds) != 1:
            raise DataError(
                f"JoinedTokens: the arrays must be of one integer type, got {' and '.join(kinds) or 'no array'}; "
                "convert them with astype to the widest"
            )
        self._ends = np.cumsum([part.shape[0] for part in self.parts])  # (parts,)

    @property
    def size(self) -> int:
        """The number of ids."""
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int]:
        """``(size,)``."""
        return (self.size,)

    @property
    def ndim(self) -> int:
        """1."""
        return 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the parts."""
        return self.parts[0].dtype

    def __len__(self) -> int:
        return self.size

    def part(self, start: int, stop: int) -> JoinedTokens:
        """The ids from ``start`` up to ``stop``, without copying them; 0 <= start <= stop <= size."""
        pieces = []
        for part, end in zip(self.parts, self._ends.tolist(), strict=True):
            begin = end - part.shape[0]
            if start < end and begin < stop:
                pieces.append(part[max(start - begin, 0) : stop - begin])
        return JoinedTokens(pieces or [self.parts[0][:0]])

    def __getitem__(self, index: Any) -> Any:
        """The id at an integer, the ids of a slice, or those at an integer array of any shape, as in NumPy.

        Raises:
            IndexError: if a position is outside.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(self.size)
            return self._span(start, stop) if step == 1 else self._gather(np.arange(start, stop, step))
        positions = np.asarray(index)
        if positions.dtype.kind not in "iu":
            raise IndexError(f"positions must be integers, a slice or an array of integers, not {index!r}")
        ids = self._gather(positions)
        return ids if positions.ndim else ids[()]

    def _span(self, start: int, stop: int) -> NDArray[Any]:
        return np.concatenate(self.part(start, max(start, stop)).parts)

    def _gather(self, positions: NDArray[Any]) -> NDArray[Any]:
        positions = np.where(positions < 0, positions + self.size, positions)
        if positions.size and not 0 <= positions.min() <= positions.max() < self.size:
            raise IndexError(f"a position is outside the {self.size} ids")
        ids = np.empty(positions.shape, self.dtype)
        owners = np.searchsorted(self._ends, positions, side="right")
        for owner in np.unique(owners):
            here = owners == owner
            part = self.parts[owner]
            ids[here] = part[positions[here] - (self._ends[owner] - part.shape[0])]
        return ids
