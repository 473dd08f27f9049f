"""The results of a profile: rows of measurements, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .machine import Machine
from .products import PRODUCTS

REST = "Python and the rest"
"""The row for all time outside of operations and updates."""
TOTAL = "total"
"""The row of the whole step."""


class Row(NamedTuple):
    """The calls of one kind in a step.

    Attributes:
        op: the operation, or the update.
        direction: ``forward``, ``backward``, ``optimizer`` or ``clip``; empty for ``REST``.
        path: path of the layer in the model; empty for the model itself or if layers were not distinguished.
        calls: number of calls.
        seconds: their time.
        flops: their floating-point operations; ``None`` if they are not counted.
        nbytes: bytes that they read and write, each array of a call once.
    """

    op: str
    direction: str
    path: str
    calls: float
    seconds: float
    flops: float | None
    nbytes: float

    @property
    def name(self) -> str:
        """Operation and direction."""
        return " ".join(filter(None, (self.op, self.direction)))

    @property
    def product(self) -> bool:
        """Whether this is an operation of matrix products, whose operands have the precision of the step."""
        return f"{self.op}_{self.direction}" in PRODUCTS

    @property
    def intensity(self) -> float | None:
        """Operations per byte."""
        return self.flops / self.nbytes if self.flops and self.nbytes else None

    @property
    def flops_per_second(self) -> float | None:
        """Operations per second."""
        return self.flops / self.seconds if self.flops and self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        """Bytes per second."""
        return self.nbytes / self.seconds if self.nbytes and self.seconds else None


@dataclass(frozen=True)
class Report:
    """Measurements of a step, as means over the recorded steps.

    Attributes:
        rows: one for each operation, direction and path; ``REST`` is the last.
        steps: number of recorded steps.
        seconds: time of a step, without the recording itself.
        page_faults: page faults of a step; ``None`` where the system does not count them.
        pool_peak: peak use of the buffer pool, in bytes.
        machine: the machine's speeds, or ``None``.
    """

    rows: tuple[Row, ...]
    steps: int
    seconds: float
    page_faults: float | None
    pool_peak: int
    machine: Machine | None

    def by_op(self) -> list[Row]:
        """Rows by operation and direction, summed over paths, slowest first."""
        return merged(self.rows, lambda row: row._replace(path=""))

    def by_layer(self) -> list[Row]:
        """Rows by path and direction, summed over operations, slowest first; ``op`` is empty except for ``REST``."""
        return merged(self.rows, lambda row: row if row.op == REST else row._replace(op=""))

    @property
    def total(self) -> Row:
        """The whole step as one row."""
        (row,) = merged(self.rows, lambda row: row._replace(op=TOTAL, direction="", path=""))
        return row._replace(seconds=self.seconds)

    @property
    def coverage(self) -> float:
        """Share of the step's time that operations and updates account for."""
        return sum(row.seconds for row in self.rows if row.op != REST) / self.seconds

    def least_seconds(self, row: Row) -> float | None:
        """The time that the machine needs for the calls: for each operation the longer of arithmetic and memory.

        Rows that were summed need the sum of their parts. ``None`` without a machine, and for what does not work on
        arrays.
        """
        if self.machine is None:
            return None
        parts = [part for part in self.rows if _is_part(part, row)]
        return sum(self.machine.bound(p.flops or 0.0, p.nbytes, product=p.product) for p in parts) or None

    def limit(self, row: Row) -> str | None:
        """The limit of the calls on this machine, ``arithmetic`` or ``memory``; in a sum, that of its largest share."""
        if self.machine is None or self.least_seconds(row) is None:
            return None
        seconds = {"arithmetic": 0.0, "memory": 0.0}
        for part in self.rows:
            if _is_part(part, row):
                arithmetic = self.machine.arithmetic(part.flops or 0.0, product=part.product)
                memory = self.machine.memory(part.nbytes)
                seconds["arithmetic" if arithmetic > memory else "memory"] += max(arithmetic, memory)
        return max(seconds, key=seconds.__getitem__)

    def share_of_bound(self, row: Row) -> float | None:
        """The least time over the time of the calls; ``None`` if they do not work on arrays.

        1 is as fast as memory and arithmetic allow; above that, arrays came from the caches.
        """
        least = self.least_seconds(row)
        return least / row.seconds if least and row.seconds else None

    def to_dict(self) -> dict[str, Any]:
        """All measurements, for JSON."""
        machine = self.machine
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "coverage": self.coverage,
            "page_faults": self.page_faults,
            "pool_peak_bytes": self.pool_peak,
            "machine": None if machine is None else machine._asdict(),
            "ops": [self._numbers(row) for row in self.by_op()],
            "layers": [self._numbers(row) for row in self.by_layer()],
            "total": self._numbers(self.total),
        }

    def _numbers(self, row: Row) -> dict[str, Any]:
        return row._asdict() | {
            "share": row.seconds / self.seconds,
            "intensity": row.intensity,
            "flops_per_second": row.flops_per_second,
            "bytes_per_second": row.bytes_per_second,
            "least_seconds": self.least_seconds(row),
            "limit": self.limit(row),
            "share_of_bound": self.share_of_bound(row),
        }


def _is_part(part: Row, row: Row) -> bool:
    """Whether a row of a report was summed into ``row``, which may be of all paths, or of all operations."""
    if row.op == TOTAL:
        return True
    if part.direction != row.direction:
        return False
    if not row.op:  # a layer
        return part.path == row.path and part.op != REST
    return part.op == row.op and row.path in ("", part.path)


def merged(rows: Iterable[Row], kind: Callable[[Row], Row]) -> list[Row]:
    """Rows summed by the operation, direction and path that ``kind`` keeps, slowest first.

    Operations that are not counted add nothing to a sum with others.
    """
    sums: dict[tuple[str, str, str], Row] = {}
    for row in map(kind, rows):
        before = sums.get(row[:3])
        sums[row[:3]] = row if before is None else _added(before, row)
    return sorted(sums.values(), key=lambda row: -row.seconds)


def _added(a: Row, b: Row) -> Row:
    flops = b.flops if a.flops is None else a.flops + (b.flops or 0.0)
    return a._replace(calls=a.calls + b.calls, seconds=a.seconds + b.seconds, flops=flops, nbytes=a.nbytes + b.nbytes)
