"""Records without files: in memory, or made by a function."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import ConfigError
from ...random import Key
from .base import Records, digest
from .broken import BrokenItems, BrokenRecordError
from .columns import Column, ColumnSpec, checked_columns, checked_row


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


def _described(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")
