"""The kernel benchmark as a table, and which twins buy too little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minitrain.benchmark.report import Table

PAYS = 1.1
"""A twin that is less than this many times as fast as its reference is deleted."""
PARTS = ("forward", "backward", "both")


def find(result: Mapping[str, Any], op: str, size: str, direction: str) -> dict[str, Any] | None:
    """The first line about an operation at a size, in one direction."""
    for line in result["lines"]:
        if (line["op"], line["size"], line["direction"]) == (op, size, direction):
            found: dict[str, Any] = line
            return found
    return None


def table(result: Mapping[str, Any]) -> Table:
    """A row for each operation and size: times of the twin, and how often it fits into the others' times."""
    grouped: dict[tuple[str, str], dict[str, Any]] = {}
    for line in result["lines"]:
        part = "forward" if line["direction"] == "call" else line["direction"]
        grouped.setdefault((line["label"], line["size"]), {})[part] = line
    rows = []
    for (label, size), lines in grouped.items():
        times = [_microseconds(lines.get(part)) for part in PARTS[:2]]
        quotients = [_ratio(lines.get(part), name) for name in ("reference", "torch") for part in PARTS]
        rows.append([label, size, *times, *quotients])
    columns = ["operation", "size", "µs forward", "µs backward"]
    for name in ("reference", "PyTorch"):
        columns += [f"{name} / twin: forward", "backward", "both"]
    return Table("kernels: times of the twins, and how often they fit into the others'", columns, rows)


def _microseconds(line: Mapping[str, Any] | None) -> str:
    seconds = {} if line is None else line["seconds"]
    return f"{1e6 * seconds['twin']:,.0f}" if "twin" in seconds else ""


def _ratio(line: Mapping[str, Any] | None, name: str) -> str:
    ratio = None if line is None else line["ratios"].get(f"{name}_to_twin")
    return "" if ratio is None else f"{ratio['median']:.2f}"


def candidates(result: Mapping[str, Any]) -> list[str]:
    """Twins that are under ``PAYS`` times as fast as their reference at every size measured, each with its best."""
    best: dict[str, float] = {}
    for line in result["lines"]:
        ratio = line["ratios"].get("reference_to_twin")
        if ratio is not None and line["has_twin"] and line["direction"] != "both":
            name = line["op"] if line["direction"] == "call" else f"{line['op']}_{line['direction']}"
            best[name] = max(best.get(name, 0.0), ratio["median"])
    return [f"{name} ({ratio:.2f}x)" for name, ratio in best.items() if ratio < PAYS]


def candidates_line(result: Mapping[str, Any]) -> str:
    """The candidates for deletion, in a sentence."""
    found = candidates(result)
    if not found:
        return f"every twin measured against its reference is {PAYS:g}x as fast or faster at some size"
    return f"candidates for deletion, under {PAYS:g}x of their references at every size: {', '.join(found)}"
