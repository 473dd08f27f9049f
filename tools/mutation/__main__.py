"""``python -m tools.mutation``: plants mistakes and lists those that no test notices."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from minitrain.testing.mutants import load_equivalents, try_mutants
from minitrain.testing.mutants.report import describe

from .targets import ROOT, files_of_tests, targets

EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
PROGRESS = Path(__file__).with_name("out")  # what a stopped run has found, to go on from


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns 0 if every mutant is noticed or documented as equivalent, 1 if not, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a file or a function, such as focal; all by default")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--tests",
        action="append",
        metavar="FILE",
        help="a test file to run; may be repeated; by default all that are about these parts, which takes minutes more",
    )
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    arguments = parser.parse_args(argv)
    os.chdir(ROOT)

    everything = targets()
    found = [target for name, target in everything.items() if _chosen(name, arguments.names)]
    if not found:
        print(f"nothing is called {' or '.join(arguments.names)}; there are {', '.join(everything)}", file=sys.stderr)
        return 2
    if arguments.list:
        for target in found:
            for mutant in target.mutants():
                print(describe(target, mutant))
        return 0

    start = time.monotonic()
    which = hashlib.sha256(" ".join(sorted(arguments.names)).encode()).hexdigest()[:8] if arguments.names else "all"
    report = try_mutants(
        found,
        [str(Path(file).absolute()) for file in arguments.tests] if arguments.tests else files_of_tests(found),
        processes=arguments.processes,
        equivalents=[entry for entry in load_equivalents(EQUIVALENTS) if _chosen(entry.target, arguments.names)],
        progress_file=PROGRESS / f"{which}.jsonl",
        tell=_progress,
    )
    _progress("")
    print(report)
    print(f"{time.monotonic() - start:.0f} s")
    return 0 if report.good else 1


def _chosen(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(part in wanted for part in (name, *name.split(".")))


def _progress(message: str) -> None:
    """One line that is written over on a terminal; nothing in a file."""
    if sys.stderr.isatty():
        print(f"\r{message}\x1b[K", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
