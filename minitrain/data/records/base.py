"""The interface of all readers: records by index, and a fingerprint of their content."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...random import Key
from ..loading.order import shuffled
from .broken import BrokenItems


class Records(ABC):
    """Records by index, each a dictionary of its columns.

    Only what is asked for is in memory. Reading is safe from several threads.

    Attributes:
        columns: names of the columns.
        broken: the items that were left out.
    """

    columns: tuple[str, ...]
    broken: BrokenItems

    @abstractmethod
    def __len__(self) -> int:
        """The number of records, without those left out."""

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]:
        """Record ``index``; raises ``IndexError`` past the last one."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """64 hexadecimal digits that depend on the content and the columns, and not on where the files are."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def without_image(self, index: int) -> dict[str, Any]:
        """Record ``index`` without the column ``image``; a reader of images does not decode it for this."""
        return self[index]

    def place(self, index: int) -> str:
        """Where record ``index`` is from, for messages."""
        return f"record {index}"

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Records:
        """The records with the indices ``rows``, in this order.

        Raises:
            DataError: if there is no such record.
        """
        return SubsetRecords(self, rows)

    def split(self, share: float, *, seed: int = 0) -> tuple[Records, Records]:
        """Two parts at random: the second has ``share`` of the records, for validation; both keep the order.

        The choice is a function of the seed and the number of records.

        Raises:
            ConfigError: if ``share`` is not between 0 and 1.
            DataError: if a part would be empty.
        """
        if not 0 < share < 1:
            raise ConfigError(f"share={share} must be between 0 and 1, both excluded")
        held_out = round(len(self) * share)
        if not 0 < held_out < len(self):
            raise DataError(f"a split of {len(self)} records with share={share} leaves one part empty")
        order = shuffled(Key.from_seed(seed).fold("split"), len(self))
        return self.take(np.sort(order[held_out:])), self.take(np.sort(order[:held_out]))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return int(index) % len(self)


class SubsetRecords(Records):
    """Some of the records of another reader.

    Attributes:
        records: the other reader.
        rows: ``(N,)`` int64, their indices there.
    """

    def __init__(self, records: Records, rows: Sequence[int] | NDArray[Any]) -> None:
        """Choose ``rows``.

        Raises:
            DataError: if there is no such record.
        """
        self.records, self.rows = records, np.array(rows, dtype=np.int64).reshape(-1)
        if self.rows.size and not (self.rows.min() >= 0 and self.rows.max() < len(records)):
            raise DataError(
                f"there are {len(records)} records, and rows from {self.rows.min()} to {self.rows.max()} were asked for"
            )
        self.columns, self.broken = records.columns, records.broken

    def __len__(self) -> int:
        return self.rows.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.records[int(self.rows[self._checked(index)])]

    def without_image(self, index: int) -> dict[str, Any]:
        """Record ``index`` without its image."""
        return self.records.without_image(int(self.rows[self._checked(index)]))

    @property
    def fingerprint(self) -> str:
        """That of the other reader and the rows."""
        return digest(self.records.fingerprint, self.rows.astype("<i8").tobytes())

    def place(self, index: int) -> str:
        """Where record ``index`` is from."""
        return self.records.place(int(self.rows[index]))


def digest(*parts: str | bytes) -> str:
    """SHA-256 of several texts or byte strings, each with its length: joined differently, they differ."""
    found = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()
