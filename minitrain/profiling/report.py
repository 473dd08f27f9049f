"""What a profile found: rows of figures, and sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .machine import Machine

REST = "Python and the rest"
"""The row of all time outside of operations and updates."""
TOTAL = "total"
"""The row of the whole step."""


class Row(NamedTuple):
    """What the calls of one kind came to, in a step.

    Attributes:
        op: the operation, or the update.
        direction: ``forward``, ``backward``, ``optimizer`` or ``clip``; nothing for ``REST``.
        path: of the layer in the model, empty for the model itself or if layers were not told apart.
        calls: how many.
        seconds: their time.
        flops: their floating-point operations; ``None`` if nobody counts them.
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
    def intensity(self) -> float | None:
        """Operations a byte."""
        return self.flops / self.nbytes if self.flops and self.nbytes else None

    @property
    def flops_per_second(self) -> float | None:
        """Operations a second."""
        return self.flops / self.seconds if self.flops and self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        """Bytes a second."""
        return self.nbytes / self.seconds if self.nbytes and self.seconds else None


@dataclass(frozen=True)
class Report:
    """Figures of a step, means over those recorded.

    Attributes:
        rows: one for each operation, direction and path; ``REST`` is the last.
        steps: how many were recorded.
        seconds: time of a step, without what the recording took.
        page_faults: of a step; ``None`` where nobody counts them.
        pool_peak: bytes of the buffer pool in use at most.
        machine: its speeds, or ``None``.
    """

    rows: tuple[Row, ...]
    steps: int
    seconds: float
    page_faults: float | None
    pool_peak: int
    machine: Machine | None

    def by_op(self) -> list[Row]:
        """Rows by operation and direction, all paths together, slowest first."""
        return merged(self.rows, lambda row: row._replace(path=""))

    def by_layer(self) -> list[Row]:
        """Rows by path and direction, all operations together, slowest first; ``op`` is empty but for ``REST``."""
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

    def share_of_bound(self, row: Row) -> float | None:
        """How near the machine's limit the calls of a row come; ``None`` if they do not work on arrays.

        1 is as fast as memory and arithmetic allow; beyond that, arrays came out of the caches. The limit of the whole
        step is that of one row after the other.
        """
        if self.machine is None:
            return None
        parts = self.rows if row.op == TOTAL else (row,)
        least = sum(self.machine.bound(part.flops or 0.0, part.nbytes) for part in parts)
        return least / row.seconds if least and row.seconds else None

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        machine = self.machine
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "coverage": self.coverage,
            "page_faults": self.page_faults,
            "pool_peak_bytes": self.pool_peak,
            "machine": None if machine is None else machine._asdict(),
            "ops": [self._figures(row) for row in self.by_op()],
            "layers": [self._figures(row) for row in self.by_layer()],
            "total": self._figures(self.total),
        }

    def _figures(self, row: Row) -> dict[str, Any]:
        return row._asdict() | {
            "share": row.seconds / self.seconds,
            "intensity": row.intensity,
            "flops_per_second": row.flops_per_second,
            "bytes_per_second": row.bytes_per_second,
            "share_of_bound": self.share_of_bound(row),
        }


def merged(rows: Iterable[Row], kind: Callable[[Row], Row]) -> list[Row]:
    """Rows added up by the operation, direction and path that ``kind`` leaves them, slowest first.

    Operations that nobody has counted add nothing to a sum with others.
    """
    sums: dict[tuple[str, str, str], Row] = {}
    for row in map(kind, rows):
        before = sums.get(row[:3])
        sums[row[:3]] = row if before is None else _added(before, row)
    return sorted(sums.values(), key=lambda row: -row.seconds)


def _added(a: Row, b: Row) -> Row:
    flops = b.flops if a.flops is None else a.flops + (b.flops or 0.0)
    return a._replace(calls=a.calls + b.calls, seconds=a.seconds + b.seconds, flops=flops, nbytes=a.nbytes + b.nbytes)
