"""Several readers as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DataError
from .base import Records, digest
from .broken import BrokenItems


class JoinedRecords(Records):
    """The records of several readers, one after another, such as the files of one data set.

    Attributes:
        parts: the readers.
    """

    def __init__(self, parts: Sequence[Records]) -> None:
        """Join ``parts``.

        Raises:
            DataError: if there are none, or their columns differ.
        """
        if not parts or len({part.columns for part in parts}) > 1:
            described = " and ".join(sorted({", ".join(part.columns) for part in parts})) or "none"
            raise DataError(f"records to be joined need the same columns; there are {described}")
        self.parts, self.columns = list(parts), parts[0].columns
        self._ends = np.cumsum([len(part) for part in parts])
        self.broken = BrokenItems("skip", 1.0)  # each part kept to its own limit
        for part in parts:
            self.broken.count += part.broken.count
            self.broken.reasons += part.broken.reasons
            self.broken.named += part.broken.named

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        part, row = self._find(self._checked(index))
        return part[row]

    def without_image(self, index: int) -> dict[str, Any]:
        """Record ``index`` without its image."""
        part, row = self._find(self._checked(index))
        return part.without_image(row)

    @property
    def fingerprint(self) -> str:
        """That of all parts in order."""
        return digest("joined", *(part.fingerprint for part in self.parts))

    def place(self, index: int) -> str:
        """Where record ``index`` is from."""
        part, row = self._find(index)
        return part.place(row)

    def _find(self, index: int) -> tuple[Records, int]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - (int(self._ends[number - 1]) if number else 0)
