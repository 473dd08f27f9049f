"""The interface of all readers: records by index, and a fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...random import Key
from ..loading.order import shuffled
from .broken import BrokenItems, BrokenRecordError
from .columns import Column, ColumnSpec, checked_columns, checked_row


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


class MemoryRecords(Records):
    """Records that are in memory already.

    Examples:
        >>> records = MemoryRecords([{"source": "one", "target": "eins"}, {"source": "two", "target": "zwei"}])
        >>> len(records), records[1]["target"], records.columns
        (2, 'zwei', ('source', 'target'))
    """

    def __init__(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: ColumnSpec | None = None,
        *,
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Check ``rows``.

        Args:
            rows: dictionaries.
            columns: which columns to keep, see `Column`; ``None`` keeps those of the first row, unchecked.
            broken: ``"refuse"`` or ``"skip"``, see `BrokenItems`.
            max_broken: with ``"skip"``, the largest share of broken rows.

        Raises:
            DataError: if a row is broken and they are refused, or too many are.
        """
        self.broken = BrokenItems(broken, max_broken)
        self._rows: list[dict[str, Any]] = []
        given = list(rows)
        names = given[0] if given else {}
        if columns is None:
            kept = checked_columns({name: Column(name, "any", True) for name in names} or {"none": "none"})
        else:
            kept = checked_columns(columns)
        for number, row in enumerate(given):
            try:
                self._rows.append(checked_row(row, kept))
            except BrokenRecordError as error:
                self.broken.add("rows", number, str(error))
        self.broken.check_share(len(given))
        self.columns = tuple(kept) if given else ()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self._rows[self._checked(index)])

    @property
    def fingerprint(self) -> str:
        """That of all values as JSON, and of arrays as bytes."""
        return digest("memory", *(json.dumps(row, sort_keys=True, default=_described) for row in self._rows))


class GeneratedRecords(Records):
    """Records that a function makes when they are asked for.

    Attributes:
        name: what is generated; a change of the function needs another name.
        settings: what the function depends on.
    """

    def __init__(
        self, name: str, count: int, make: Callable[[Key, int], dict[str, Any]], *, seed: int = 0, **settings: Any
    ) -> None:
        """Make ``count`` records.

        Args:
            name: see the class.
            count: how many.
            make: ``make(key, index)`` returns record ``index``; ``key`` is one for this record.
            seed: seed of the keys.
            settings: what ``make`` depends on besides, for the fingerprint.

        Raises:
            ConfigError: if ``count`` is below 1.
        """
        if count < 1:
            raise ConfigError(f"count={count} must be at least 1")
        self.name, self.settings = name, settings | {"seed": seed, "count": count}
        self._make, self._count, self._key = make, count, Key.from_seed(seed).fold(name)
        self.columns, self.broken = tuple(self[0]), BrokenItems()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._checked(index)
        return self._make(self._key.fold(row), row)

    @property
    def fingerprint(self) -> str:
        """That of the name and the settings."""
        return digest("generated", self.name, json.dumps(self.settings, sort_keys=True))


def digest(*parts: str | bytes) -> str:
    """SHA-256 of several texts or byte strings, each with its length: joined differently, they differ."""
    found = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()


def _described(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")
