"""The rows of all samples of an evaluation: values of any part of them, and a file of them."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...backend.arrays import Array, to_numpy
from ...errors import DataError, MinitrainError
from ...files import file_error, open_regular, parse_json, write_atomically
from ..base import SampleMeasure, results
from ..fields import field_of

LONGEST_LINE = 10_000_000
LARGEST_FILE = 1 << 30


@dataclass(frozen=True, eq=False)
class SampleTable:
    """The share of each sample of an evaluation in each measure.

    Attributes:
        measures: by name.
        rows: by the same names, (N, S) each.
        keys: what the samples can be told apart by, such as their length or language: by name, N values each.
        data: says on which samples, in which order; tables of the same data can be compared pair by pair.
    """

    measures: Mapping[str, SampleMeasure]
    rows: Mapping[str, Array]
    keys: Mapping[str, Array] = field(default_factory=dict)
    data: str = ""

    def __post_init__(self) -> None:
        """Make sure that all samples have everything.

        Raises:
            DataError: if a measure or a key has another number of samples.
        """
        sizes = {name: len(values) for name, values in (*self.rows.items(), *self.keys.items())}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
            raise DataError(f"the samples of a table have one row and one key each, but there are: {told}")

    def __len__(self) -> int:
        return len(next(iter((*self.rows.values(), *self.keys.values())), ()))

    def values(self) -> dict[str, float]:
        """The values of all measures over all samples."""
        return results({name: _Sum(one, self.rows[name]) for name, one in self.measures.items()})

    def where(self, chosen: Array) -> SampleTable:
        """The table of some samples: a mask (N,), or their indices."""
        rows = {name: values[chosen] for name, values in self.rows.items()}
        return SampleTable(self.measures, rows, {name: values[chosen] for name, values in self.keys.items()})

    def by(self, key: str | Callable[[Mapping[str, Array]], Array]) -> dict[Any, SampleTable]:
        """A table for each value of a key, in their order: by class, by language.

        Args:
            key: a name of ``keys``; or a function of them that gives each sample a value, such as
                ``lambda keys: keys["length"] // 10 * 10``.

        Raises:
            DataError: if there is no such key.
        """
        if isinstance(key, str) and key not in self.keys:
            raise DataError(f"the samples have no key {key!r}; there are: {', '.join(self.keys) or 'none'}")
        labels = np.asarray(self.keys[key] if isinstance(key, str) else key(self.keys))
        return {label: self.where(labels == label) for label in np.unique(labels).tolist()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the table as JSON lines: the measures, then one sample in each line.

        Raises:
            FileError: if the file cannot be written.
        """
        head = {
            "data": self.data,
            "measures": {name: {"kind": one.kind, **one.settings()} for name, one in self.measures.items()},
        }
        text = io.StringIO()
        text.write(json.dumps(head) + "\n")
        columns = {name: values.tolist() for name, values in (*self.keys.items(), *self.rows.items())}
        for sample in zip(*columns.values(), strict=True):
            text.write(json.dumps(dict(zip(columns, sample, strict=True))) + "\n")
        write_atomically(path, text.getvalue().encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Measures whose kind is not known here are left out.

        Raises:
            FileError: if the file cannot be read.
            DataError: if it is no table; says which line is wrong.
        """
        where = f"{os.fspath(path)} is no table of samples"
        lines = _lines(Path(path))
        if not lines or not isinstance(head := lines[0].get("measures"), dict):
            raise DataError(f"{where}: its first line names no measures")
        measures = {name: one for name, told in head.items() if (one := _measure(told, where, name)) is not None}
        names = [name for name in (lines[1] if len(lines) > 1 else ()) if name not in head]
        rows: dict[str, list[Any]] = {name: [] for name in measures}
        keys: dict[str, list[Any]] = {name: [] for name in names}
        for number, line in enumerate(lines[1:], start=2):
            for name in rows:
                row = line.get(name)
                if not _is_row(row) or (rows[name] and len(row) != len(rows[name][0])):  # type: ignore[arg-type]
                    raise DataError(f"{where}: line {number} has no row of numbers for {name!r}")
                rows[name].append(row)
            for name in keys:
                if type(value := line.get(name)) not in (str, int, float, bool):
                    raise DataError(f"{where}: line {number} has no text or number for {name!r}")
                keys[name].append(value)
        arrays = {name: np.array(values, np.float64) for name, values in rows.items()}
        data = lines[0].get("data")
        return cls(
            measures,
            {name: values if values.ndim == 2 else values.reshape(0, 0) for name, values in arrays.items()},
            {name: np.array(values) for name, values in keys.items()},
            data if isinstance(data, str) else "",
        )


class Collector:
    """Keeps the rows and keys of all samples: ``8 S`` bytes a sample and measure.

    Args:
        measures: by name.
        keys: fields of the batches by name, or functions that find (B,) values in a batch.
    """

    def __init__(
        self, measures: Mapping[str, SampleMeasure], keys: Mapping[str, str | Callable[[Any], Any]] | None = None
    ) -> None:
        self.measures, self._find = dict(measures), dict(keys or {})
        self._rows: dict[str, list[Array]] = {name: [] for name in measures}
        self._keys: dict[str, list[Array]] = {name: [] for name in self._find}

    def update(self, outputs: Any, batch: Any) -> None:
        """Keep the samples of a batch."""
        for name, one in self.measures.items():
            self._rows[name].append(one.rows(outputs, batch))
        self.update_keys(batch)

    def update_keys(self, batch: Any) -> None:
        """Keep the keys alone."""
        for name, find in self._find.items():
            found = field_of(batch, find) if isinstance(find, str) else find(batch)
            self._keys[name].append(np.asarray(to_numpy(found)))

    def table(self, data: str = "") -> SampleTable:
        """The table as it was kept."""
        rows = {name: np.concatenate(parts) if parts else np.zeros((0, 0)) for name, parts in self._rows.items()}
        keys = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in self._keys.items()}
        return SampleTable(self.measures, rows, keys, data)


class _Sum:
    """A measure over rows that are there already."""

    def __init__(self, measure: SampleMeasure, rows: Array) -> None:
        self.measure, self.rows = measure, rows

    def update(self, outputs: Any, batch: Any) -> None:
        """There is nothing to add."""

    def result(self) -> dict[str, float]:
        """The value of the sum."""
        return self.measure.value(self.measure.sums(self.rows)) if len(self.rows) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    found: list[dict[str, Any]] = []
    try:
        with open_regular(path) as raw, io.BufferedReader(raw) as file:
            if os.fstat(raw.fileno()).st_size > LARGEST_FILE:
                raise DataError(f"{path} is larger than {LARGEST_FILE:,} bytes: evaluate on fewer samples")
            while line := file.readline(LONGEST_LINE):
                number = len(found) + 1
                try:
                    value = parse_json(line, containers=1000)
                except ValueError as error:
                    raise DataError(f"{path} is no table of samples: line {number}: {error}") from error
                if not isinstance(value, dict):
                    raise DataError(f"{path} is no table of samples: line {number} is no JSON object")
                found.append(value)
    except MinitrainError:
        raise
    except OSError as error:
        raise file_error("read", path, error) from error
    return found


def _measure(told: Any, where: str, name: str) -> SampleMeasure | None:
    """The measure that a file describes; ``None`` if its kind is not known here."""
    settings = dict(told) if isinstance(told, dict) else {}
    kind = SampleMeasure.kinds.get(str(settings.pop("kind", "")))
    if kind is None:
        return None
    try:
        return kind(**settings)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: the settings of {name!r} are wrong: {error}") from error


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and all(type(x) in (int, float) and math.isfinite(x) for x in row)
