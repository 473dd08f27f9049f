"""A profile as rich tables for the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .machine import Machine
from .report import Report, Row

if TYPE_CHECKING:
    from rich.table import Table

_FAST, _SLOW = 0.7, 0.3  # shares of the bound: green from the first on, red below the second


def tables(report: Report, *, by_layer: bool = False) -> list[Table]:
    """The report for ``rich``: a table by operation and, optionally, one by layer.

    Args:
        report: the report.
        by_layer: whether layers were distinguished and are shown.
    """
    found = [_table("operation", [(row.op, row) for row in report.by_op()], report)]
    if by_layer:
        paths = [(row.op or row.path or "(the model itself)", row) for row in report.by_layer()]
        found.append(_table("layer", paths, report))
    return found


def _table(title: str, rows: Sequence[tuple[str, Row]], report: Report) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    total = report.total
    flops, nbytes = Unit.of(total.flops or 0.0, "FLOP"), Unit.of(total.nbytes, "B")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(title, no_wrap=True)
    table.add_column("direction", no_wrap=True)
    for heading in ("calls", "ms", "share", flops.name, nbytes.name, "FLOP/B", "GFLOP/s", "GB/s", "limit", "of bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in [*rows, ("total", total)]:
        bound = report.share_of_bound(row)
        table.add_row(
            Text(name),  # a layer's name may look like markup
            row.direction,
            f"{row.calls:g}" if row.calls else "",
            f"{row.seconds * 1e3:.2f}",
            f"{row.seconds / report.seconds:.1%}",
            _digits(row.flops, flops.size),
            _digits(row.nbytes, nbytes.size),
            _digits(row.intensity),
            _digits(row.flops_per_second, 1e9),
            _digits(row.bytes_per_second, 1e9),
            report.limit(row) or "",
            "" if bound is None else f"[{_color(bound)}]{bound:.0%}[/]",
            style="bold" if row is total else None,
        )
    return table


class Unit(NamedTuple):
    """The unit of a column."""

    name: str
    size: float

    @classmethod
    def of(cls, total: float, what: str) -> Unit:
        """Thousands, millions or billions: the largest unit in which the total is at least 1."""
        return next((cls(f"{letter}{what}", size) for letter, size in _SIZES if total >= size), cls(f"k{what}", 1e3))


_SIZES = (("G", 1e9), ("M", 1e6))


def _digits(value: float | None, unit: float = 1.0) -> str:
    """A number with three digits; empty for 0 or ``None``."""
    if not value:
        return ""
    value /= unit
    if value < 0.0005:
        return "<0.001"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{decimals}f}"


def _color(bound: float) -> str:
    return "green" if bound >= _FAST else "red" if bound < _SLOW else "yellow"


def describe(report: Report) -> list[str]:
    """Additions to the tables, in a few lines."""
    lines = [
        f"a step takes {report.seconds * 1e3:.2f} ms (mean of {report.steps}); operations, clipping and the optimizer "
        f"account for {report.coverage:.1%} of it"
    ]
    if (machine := report.machine) is not None:
        lines += _limits(machine)
        if (least := report.least_seconds(report.total)) is not None:
            lines.append(
                f"at these limits the step would take {least * 1e3:.2f} ms, {least / report.seconds:.0%} of its time"
            )
    faults = "" if report.page_faults is None else f"page faults: {report.page_faults:.1f} per step; "
    lines.append(f"{faults}buffer pool: {report.pool_peak / 1e6:.1f} MB at most")
    return lines


def _limits(machine: Machine) -> list[str]:
    """The machine's limits, and how to read shares of them."""
    kind = "" if machine.precision == "float32" else f" in {machine.precision}"
    threads = f"{machine.threads} thread{'s' * (machine.threads != 1)}"
    lines = [
        f"this machine: {machine.flops * 1e-9:.0f} GFLOP/s{kind} in first-level cache and "
        f"{machine.bandwidth * 1e-9:.1f} GB/s in a triad, measured just now on {threads}; above "
        f"{machine.ridge:.1f} FLOP/B arithmetic is the limit, below it memory"
    ]
    if machine.float32_flops is not None and machine.float32_flops != machine.flops:
        lines.append(f"arithmetic outside of products: {machine.float32_flops * 1e-9:.0f} GFLOP/s")
    if machine.sgemm is not None:
        lines.append(f"a product of large float32 matrices: {machine.sgemm * 1e-9:.0f} GFLOP/s")
    lines.append("of bound: 100% is as fast as these two allow; more means that data came from the caches")
    return lines
