"""``python -m benchmarks.mutation``: plants mistakes and lists those that no test notices."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from . import workers
from .equivalents import Equivalent, load
from .mutants import KINDS, Mutant
from .session import Outcome
from .targets import Target, targets


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns 0 if every mutant is noticed or documented as equivalent, 1 if not, 2 for an unknown name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a file or a function, such as focal; all by default")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    arguments = parser.parse_args(argv)

    found = {name: target for name, target in targets().items() if _chosen(name, arguments.names)}
    if not found:
        print(f"nothing is called {' or '.join(arguments.names)}; there are {', '.join(targets())}", file=sys.stderr)
        return 2
    all_mutants = {name: list(target.mutants()) for name, target in found.items()}
    todo = [(name, number) for name, mutants in all_mutants.items() for number in range(len(mutants))]
    if arguments.list:
        for name, number in todo:
            print(describe(found[name], all_mutants[name][number]))
        return 0

    start = time.monotonic()
    files = workers.test_files()
    visits = workers.survey(files, arguments.processes, lambda done: _progress(f"{done} tests surveyed"))
    tried: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        tried.append(outcome)
        alive = sum(not outcome.killer for outcome in tried)
        _progress(f"{len(tried)} of {len(todo)} mutants tried, {alive} unnoticed")

    outcomes = workers.hunt(todo, visits, files, arguments.processes, tell)
    _progress("")
    equivalents = [entry for entry in load() if _chosen(entry.target, arguments.names)]
    text, good = report(found, all_mutants, outcomes, equivalents)
    print(text)
    print(f"{time.monotonic() - start:.0f} s, {len(visits)} tests")
    return 0 if good else 1


def report(
    found: Mapping[str, Target],
    all_mutants: Mapping[str, Sequence[Mutant]],
    outcomes: Sequence[Outcome],
    equivalents: Sequence[Equivalent],
) -> tuple[str, bool]:
    """The survivors, stale entries, mutants that hung, and the figures.

    Args:
        found: the targets by name.
        all_mutants: of each target, in order.
        outcomes: one for each mutant.
        equivalents: the documented ones of these targets.

    Returns:
        The text, and whether nothing needs attention.
    """
    documented = {(entry.target, entry.after) for entry in equivalents}
    alive = [(o.target, all_mutants[o.target][o.number]) for o in outcomes if not o.killer]
    unnoticed = sorted((t, m.line, i) for i, (t, m) in enumerate(alive) if (t, m.after) not in documented)
    stale = sorted(documented - {(target, mutant.after) for target, mutant in alive})
    lines = []
    for title, block in (
        ("no test notices", [describe(found[alive[i][0]], alive[i][1]) for _, _, i in unnoticed]),
        ("documented as equivalent, but noticed or no longer made", [f"{t}\n    {after}" for t, after in stale]),
        ("noticed because the process hung or died", [
            f"{describe(found[o.target], all_mutants[o.target][o.number])}\n    {o.killer}"
            for o in outcomes if o.killer.startswith("(")
        ]),
    ):  # fmt: skip
        if block:
            lines += [f"{title}:", *block, ""]
    kinds = Counter(all_mutants[o.target][o.number].kind for o in outcomes)
    lines.append(
        f"{len(outcomes)} mutants of {len(found)} functions: {len(outcomes) - len(alive)} noticed, "
        f"{len(alive) - len(unnoticed)} equivalent, {len(unnoticed)} unnoticed"
    )
    lines.append(", ".join(f"{kinds[kind]} {kind}" for kind in KINDS))
    return "\n".join(lines), not unnoticed and not stale


def describe(target: Target, mutant: Mutant) -> str:
    """Where the mistake is, and what it is, on three lines."""
    return f"{target.path}:{mutant.line} {target.name} ({mutant.kind})\n  - {mutant.before}\n  + {mutant.after}"


def _chosen(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(part in wanted for part in (name, *name.split(".")))


def _progress(message: str) -> None:
    """One line that is written over on a terminal; nothing in a file."""
    if sys.stderr.isatty():
        print(f"\r{message}\x1b[K", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
