"""Plant a small mistake in every place of every CUDA kernel, run its checks in the emulator, list what is not noticed.

    python -m tools.cuda_mutants                                # all files; can be stopped and goes on from there
    python -m tools.cuda_mutants norms/layer_norm.cu philox.cuh # some
    python -m tools.cuda_mutants --list norms                   # print the mutants and try none

Each launch runs in two orders of threads, which must leave the same bytes; what no check notices runs in all others,
too. With ``--races`` it then runs in a build with ThreadSanitizer, which needs setarch. Needs g++.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# Before NumPy is loaded: a process with threads of its own must not be copied.
os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MINITRAIN_NUM_THREADS": "1"})

from minitrain.testing.mutants import MutationReport, load_equivalents
from minitrain.testing.mutants.progress import Progress
from minitrain.testing.mutants.report import describe
from minitrain.testing.mutants.session import Outcome

from .places import Mistake
from .races import races
from .switches import Mutated
from .trial import try_unit
from .units import Unit, mutated_files, unchecked, units

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENTS = Path(__file__).with_name("equivalents.toml")
PROGRESS = Path(__file__).with_name("out")
HELPERS = ROOT / "tests" / "helpers" / "cuda"


class Function(NamedTuple):
    """A function of a file, as the report names it."""

    name: str
    path: str


class Store:
    """What was found of each unit, on disk, and how it adds up."""

    def __init__(self, every: Sequence[Unit], files: Mapping[str, Mutated]) -> None:
        self.files = files
        self._progress = {
            unit.path: Progress(PROGRESS / f"{unit.path.replace('/', '-')}.jsonl", _fingerprint(unit, files))
            for unit in every
        }
        self.tried = {
            unit: {(outcome.target, outcome.number): outcome.killer for outcome in progress.outcomes}
            for unit, progress in self._progress.items()
        }

    def keep(self, unit: str, outcome: Outcome) -> None:
        """Note one mutant that was tried in a unit."""
        self._progress[unit].keep(outcome)
        self.tried[unit][outcome.target, outcome.number] = outcome.killer

    def killer(self, path: str, number: int) -> str:
        """The check of any unit that noticed a mutant."""
        return next((found for tried in self.tried.values() if (found := tried.get((path, number)))), "")

    def outcome(self, path: str, number: int, users: Sequence[Unit]) -> str | None:
        """What noticed a mutant; an empty string if nothing did in any unit, ``None`` if one is left to try."""
        if found := self.killer(path, number):
            return found
        return "" if all((path, number) in self.tried[unit.path] for unit in users) else None


def _fingerprint(unit: Unit, files: Mapping[str, Mutated]) -> str:
    """Changes with the text of a unit and with its mistakes. Checks may change: what they noticed, they notice still."""
    texts = [files[name].text + repr(files[name].mistakes) for name in _files_of(unit)]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _files_of(unit: Unit) -> list[str]:
    return [unit.path, *(f"include/{name}" for name in unit.headers)]


def _users(path: str, every: Sequence[Unit]) -> list[Unit]:
    return [unit for unit in every if path in _files_of(unit)]


def report_on(store: Store, every: Sequence[Unit], paths: Sequence[str]) -> MutationReport:
    """The report of `tools.mutation`, on functions of kernels."""
    functions: dict[str, Function] = {}
    mutants: dict[str, list[Mistake]] = {}
    outcomes = []
    for path in paths:
        users = _users(path, every)
        for number, mistake in enumerate(store.files[path].mistakes):
            name = f"{path} {mistake.function}"
            functions.setdefault(name, Function(name, f"minitrain/kernels/cuda/{path}"))
            found = mutants.setdefault(name, [])
            if (killer := store.outcome(path, number, users)) is not None:
                outcomes.append(Outcome(name, len(found), killer))
            found.append(mistake)
    known = [entry for entry in load_equivalents(EQUIVALENTS) if entry.target in functions]
    return MutationReport(list(functions.values()), mutants, outcomes, known)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns 0 if every mutant is noticed or documented as equivalent, 1 if not, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m tools.cuda_mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a file or a folder of kernels; all by default")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="a budget of time; the next call goes on")
    parser.add_argument("--again", action="store_true", help="try those again that were not noticed")
    parser.add_argument("--races", action="store_true", help="run what is left in a build with ThreadSanitizer (slow)")
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    parser.add_argument("--summary", action="store_true", help="report on what was tried, and try none")
    options = parser.parse_args(argv)

    every, files = units(), mutated_files()
    if missing := unchecked():
        print(f"there are no checks for {', '.join(missing)}", file=sys.stderr)
        return 1
    paths = [path for path in files if not options.names or any(name in path for name in options.names)]
    if not paths:
        print(f"nothing is called {' or '.join(options.names)}; there are {', '.join(files)}", file=sys.stderr)
        return 2
    if options.list:
        for path in paths:
            for mistake in files[path].mistakes:
                print(describe(Function(f"{path} {mistake.function}", f"minitrain/kernels/cuda/{path}"), mistake))
        return 0

    store, until = Store(every, files), time.monotonic() + options.seconds
    for unit in every:
        wanted = [
            (path, number)
            for path in _files_of(unit)
            if path in paths
            for number in range(len(files[path].mistakes))
            if not store.killer(path, number) and (options.again or (path, number) not in store.tried[unit.path])
        ]
        if not wanted or options.summary or time.monotonic() > until:
            continue
        start = time.monotonic()
        for done, result in enumerate(try_unit(unit, files, wanted, options.processes, until), 1):
            store.keep(unit.path, Outcome(*result))
            if sys.stderr.isatty() or done == len(wanted):
                line = f"{unit.path}: {done} of {len(wanted)} mutants, {time.monotonic() - start:.0f} s"
                print(line, end="\r" if done < len(wanted) else "\n", file=sys.stderr, flush=True)
        if not options.races:
            continue
        alive = [(path, number) for path, number in wanted if not store.killer(path, number)]
        for result in races(unit, alive, until):
            store.keep(unit.path, Outcome(*result))
    report = report_on(store, every, paths)
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
