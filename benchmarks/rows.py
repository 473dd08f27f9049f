"""Results of training steps as rows for README and RESULTS: one for each processor, model and precision.

    python -m benchmarks.rows benchmarks/out/train_step_*.json

Each processor has a table of its own, so figures of two never stand in one. A run while other programs kept the machine
busy is refused: its ratios would say little.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minitrain.benchmark.ratios import Spread
from minitrain.benchmark.report import QUIET, Table, markdown

SUMMARY = "Print results of training steps as Markdown tables, one for each processor."
COLUMNS = (
    *("model", "precision", "PyTorch, same precision", "PyTorch, any precision", "equal instructions"),
    *("peak memory / PyTorch's", "time / float32's", "memory / float32's", "commit, date"),
)
Result = Mapping[str, Any]


def tables(results: Iterable[Result], *, busy: bool = False) -> list[Table]:
    """A table for each processor, in the order of the results.

    Args:
        results: of `minitrain.benchmark.train_step.measure`.
        busy: whether to take runs on a busy machine too.

    Raises:
        ValueError: if a run met other programs, and ``busy`` does not allow that.
    """
    rows: dict[str, list[list[str]]] = {}
    for result in results:
        others = result["cores_used_by_others"]
        if not busy and (others is None or others > QUIET):
            raise ValueError(
                f"{result['config']}, {result['precision']}: other programs kept {others} cores busy; measure again "
                f"when it is at most {QUIET}"
            )
        machine = f"{result['machine']['cpu']} ({result['instructions']}, {result['machine']['cores']} cores)"
        rows.setdefault(machine, []).append(row(result))
    return [Table(machine, COLUMNS, found) for machine, found in rows.items()]


def row(result: Result) -> list[str]:
    """The cells of one result; empty where nothing was measured."""
    found, machine = result["comparisons"], result["machine"]
    equal = _times(found.get("equal_instructions"))
    if not equal and result["settings"]["equal_instructions"] and result["instructions"] == "AVX2":
        equal = "the same: AVX2"
    plain = found.get("float32")
    return [
        f"`{result['config']}`",
        result["precision"],
        _times(found.get("same_precision")) or _left_out(result),
        _times(found.get("any_precision")),
        equal,
        _number(found.get("any_precision"), "memory"),
        "" if plain is None else f"{1 / plain['ratio']['median']:.2f}",
        _number(plain, "memory"),
        f"{machine['commit']}, {machine['date'][:10]}",
    ]


def _times(comparison: Result | None) -> str:
    return "" if comparison is None else f"{Spread(**comparison['ratio'])}"


def _number(comparison: Result | None, key: str) -> str:
    return "" if comparison is None or comparison[key] is None else f"{comparison[key]:.2f}"


def _left_out(result: Result) -> str:
    slow = [probe["slowness"] for name, probe in result["probes"].items() if name in result["failures"]]
    return f"left out: {min(slow):.0f} times as slow as its float32" if slow else ""


def main() -> int:
    """Print the tables of the files on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows", description=SUMMARY)
    parser.add_argument("files", type=Path, nargs="+", help="written by benchmarks.train_step or minitrain bench")
    parser.add_argument("--busy", action="store_true", help="take runs on a busy machine too")
    arguments = parser.parse_args()
    if missing := [str(file) for file in arguments.files if not file.is_file()]:
        parser.error(f"there is no file {', '.join(missing)}")
    results: list[Result] = []
    for file in arguments.files:
        read = json.loads(file.read_text())
        results += read if isinstance(read, list) else [read]
    try:
        found = tables(results, busy=arguments.busy)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n\n".join(map(markdown, found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
