"""``python -m tools.mutation``: plants mistakes and lists those that no test notices."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from minitrain.testing.mutants import MutationReport, Target, load_equivalents, try_mutants
from minitrain.testing.mutants.report import describe
from minitrain.testing.mutants.workers import PATIENCE

from .targets import ROOT, files_of_tests, own_tests, parts

EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
PROGRESS = Path(__file__).with_name(
    "out"
)  # what a run has found: the next one tries what is new and what was unnoticed


class Part(NamedTuple):
    """Functions that are tried together."""

    name: str
    chosen: Mapping[str, Target]
    whole: bool  # whether these are all functions of the part


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns 0 if every mutant is noticed or documented as equivalent, 1 if not, 2 for an unknown name."""
    every = parts()
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a file or a function, such as focal; all by default")
    parser.add_argument(
        "--part", action="append", choices=every, metavar="PART", help=f"a part alone: {', '.join(every)}"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--tests",
        action="append",
        metavar="FILE",
        help="a test file to run; may be repeated; by default those that are about the part",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="S",
        help=f"seconds beyond ten times the slowest test, after which a test counts as hanging ({PATIENCE:g})",
    )
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    parser.add_argument("--count", action="store_true", help="print how many there are and try none")
    arguments = parser.parse_args(argv)
    os.chdir(ROOT)

    found = []
    for name, functions in every.items():
        if arguments.part is None or name in arguments.part:
            chosen = {one: target for one, target in functions.items() if _chosen(one, arguments.names)}
            if chosen:
                found.append(Part(name, chosen, len(chosen) == len(functions)))
    if not found:
        names = [name for functions in every.values() for name in functions]
        near = [one for name in arguments.names for one in get_close_matches(name, names, n=3, cutoff=0)]
        print(f"nothing is called {' or '.join(arguments.names)}; near it are {', '.join(near)}", file=sys.stderr)
        return 2
    if arguments.list:
        for part in found:
            for target in part.chosen.values():
                for mutant in target.mutants():
                    print(describe(target, mutant))
        return 0
    if arguments.count:
        for part in found:
            numbers = [sum(1 for _ in target.mutants()) for target in part.chosen.values()]
            print(f"{part.name}: {len(numbers)} functions, {sum(numbers)} mutants")
        return 0

    rows = []
    for part in found:
        start = time.monotonic()
        report = _tried(part, arguments.tests, arguments.processes, arguments.patience)
        _progress("")
        print(f"{part.name}:\n{report}\n{time.monotonic() - start:.0f} s", flush=True)
        rows.append((part.name, report))
    if len(rows) > 1:
        print(_table(rows))
    gone = _of_no_function(every, arguments.names)
    if gone:
        print(f"documented, and there is no such function: {', '.join(gone)}")
    return 0 if not gone and all(report.good for _, report in rows) else 1


def _of_no_function(every: Mapping[str, Mapping[str, Target]], names: Sequence[str]) -> list[str]:
    there = {name for functions in every.values() for name in functions}
    entries = {entry.target for entry in load_equivalents(EQUIVALENTS) if _chosen(entry.target, names)}
    return sorted(entries - there)


def _tried(part: Part, tests: Sequence[str] | None, processes: int, patience: float) -> MutationReport:
    which = "" if part.whole else "-" + hashlib.sha256(" ".join(sorted(part.chosen)).encode()).hexdigest()[:8]
    return try_mutants(
        part.chosen.values(),
        [str(Path(file).absolute()) for file in tests] if tests else files_of_tests(part.chosen.values()),
        own_tests=None if tests else own_tests(part.chosen.values()),
        processes=processes,
        equivalents=[entry for entry in load_equivalents(EQUIVALENTS) if entry.target in part.chosen],
        progress_file=PROGRESS / f"{part.name}{which}.jsonl",
        keep=part.whole,
        patience=patience,
        tell=_progress,
    )


def _table(rows: Sequence[tuple[str, MutationReport]]) -> str:
    """Counts of each part, and of all."""
    lines = ["| part | functions | mutants | noticed | equivalent | unnoticed |", "|---|---|---|---|---|---|"]
    counts = [(name, [len(report.targets), *report.counts]) for name, report in rows]
    counts.append(("all", [*map(sum, zip(*(numbers for _, numbers in counts), strict=True))]))
    lines += [f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |" for name, numbers in counts]
    return "\n".join(lines)


def _chosen(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(part in wanted for part in (name, *name.split(".")))


def _progress(message: str) -> None:
    """One line that is written over on a terminal; nothing in a file."""
    if sys.stderr.isatty():
        print(f"\r{message}\x1b[K", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
