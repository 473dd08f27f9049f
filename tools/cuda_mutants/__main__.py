"""Plant a small mistake in every place of every CUDA kernel, run its checks in the emulator, list what is not noticed.

    python -m tools.cuda_mutants                                # all files; can be stopped and goes on from there
    python -m tools.cuda_mutants norms/layer_norm.cu philox.cuh # some
    python -m tools.cuda_mutants --list norms                   # print the mutants and try none

Each launch runs in two orders of threads, which must leave the same bytes; what no check notices runs in all others,
too. Needs g++.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence

# Before NumPy is loaded: a process with threads of its own must not be copied.
os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MINITRAIN_NUM_THREADS": "1"})

from minitrain.testing.mutants.report import describe

from .store import Function, Store
from .trial import try_unit
from .units import mutated_files, unchecked, units


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns 0 if every mutant is noticed or documented as equivalent, 1 if not, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m tools.cuda_mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a file or a folder of kernels; all by default")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="a budget of time; the next call goes on")
    parser.add_argument("--again", action="store_true", help="try those again that were not noticed")
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
                print(describe(Function.of(path, mistake), mistake))
        return 0

    store, until = Store(every, files), time.monotonic() + options.seconds
    for unit in every:
        wanted = [
            (path, number)
            for path in unit.files
            if path in paths
            for number in range(len(files[path].mistakes))
            if not store.killer(path, number) and (options.again or (path, number) not in store.tried[unit.path])
        ]
        wanted.sort(key=lambda mutant: mutant not in store.tried[unit.path])  # better checks may have come for those
        if not wanted or options.summary or time.monotonic() > until:
            continue
        start = time.monotonic()
        for done, result in enumerate(try_unit(unit, files, wanted, options.processes, until), 1):
            store.keep(unit, result)
            if sys.stderr.isatty() or done == len(wanted):
                line = f"{unit.path}: {done} of {len(wanted)} mutants, {time.monotonic() - start:.0f} s"
                print(line, end="\r" if done < len(wanted) else "\n", file=sys.stderr, flush=True)
    report = store.report(paths)
    print(report)
    return 0 if report.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
