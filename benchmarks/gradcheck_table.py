"""``python -m benchmarks.gradcheck_table``: 60 wrong and 30 right backwards through three gradient checkers.

Each case is one pair of NumPy functions. minitrain checks it as it is. For PyTorch it is wrapped in an
``autograd.Function``, for JAX in a ``custom_vjp`` that calls back. Every checker has its own default settings. It
writes a page; with ``--check`` it fails unless minitrain judges all 90 rightly.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .gradchecks import changes, difficult, ordinary, places, small
from .gradchecks.case import Case
from .gradchecks.checkers import CHECKERS, FAST, Verdict

WRONG: list[Case] = [*ordinary.CASES, *small.CASES, *places.CASES, *changes.CASES]
RIGHT: list[Case] = difficult.CASES
PAGE = Path(__file__).resolve().parents[1] / "docs" / "gradient_checkers.md"
PACKAGES = {"minitrain": "minitrain", "PyTorch": "torch", "JAX": "jax"}

_TEXT = """\
# Three gradient checkers on 90 cases

Sixty backwards with one mistake each, and thirty right ones that are hard to check. Each is a pair of NumPy functions.
minitrain's `check_gradients` takes it as it is. For `torch.autograd.gradcheck` it is wrapped in an `autograd.Function`,
and for `jax.test_util.check_grads` in a `custom_vjp` that calls back. All run in float64 with their default tolerances.
These are minitrain's own cases, chosen to be hard: to judge all of them rightly was the aim of its checker, which was
changed for two of them (a cache rounded to float32, a gradient that adds up over calls). The others were made for other
aims, and to be quick.

`python -m benchmarks.gradcheck_table` made this page, with {versions}. The cases are in `benchmarks/gradchecks/`.

{summary}

## Sixty mistakes

**found**: the checker rejects the backward, or says what else is wrong. *missed*: it accepts it.

{wrong}

Of functions of more than {fast} inputs, PyTorch's check runs with `fast_mode=True`: its full Jacobian would take hours,
or more memory than there is. Mistakes *at some shapes* are checked by `check_drawn`, which draws the shapes; the others
check the one shape that they are given, (3, 4) or so, and would find most of them at the right shape. JAX's arrays
cannot be changed in place: those mistakes (–) cannot be made there.

## Thirty right backwards

**passed**: the checker accepts it. *rejected*: a false alarm, or it cannot be checked.

{right}

At a kink or a tie, minitrain accepts any value between the derivatives from both sides, and its report names the
element. The float32 product is checked with `settings=SINGLE`, those of 16 bits with `check_half_gradients`. The other
two get float32 inputs for these three.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run all checkers and write the page; returns 1 with ``--check`` if minitrain is wrong about a case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gradcheck_table", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains it; writes no page")
    parser.add_argument("--checkers", nargs="+", default=list(CHECKERS), choices=list(CHECKERS))
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--check", action="store_true", help="fail unless minitrain is right about all")
    arguments = parser.parse_args(argv)
    found: dict[str, dict[str, Verdict]] = {}
    mistaken: list[str] = []
    for wanted, cases in ((False, WRONG), (True, RIGHT)):
        for case in cases:
            if arguments.only not in case.name:
                continue
            start = time.perf_counter()
            found[case.name] = {name: CHECKERS[name](case) for name in arguments.checkers}
            said = ", ".join(f"{name} {_word(v, wanted)}" for name, v in found[case.name].items())
            print(f"{case.name}: {said} ({time.perf_counter() - start:.1f} s)", flush=True)
            ours = found[case.name].get("minitrain")
            if ours is not None and ours.accepted is not wanted:
                mistaken.append(f"{case.name}: {ours.words}")
    for line in mistaken:
        print(f"minitrain is wrong about: {line}", file=sys.stderr)
    if not arguments.only and list(arguments.checkers) == list(CHECKERS):
        arguments.page.write_text(page(found), encoding="utf-8")
        print(f"wrote {arguments.page}")
    return 1 if arguments.check and mistaken else 0


def page(found: dict[str, dict[str, Verdict]]) -> str:
    """The page with both tables."""
    versions = ", ".join(f"{name} {importlib.metadata.version(package)}" for name, package in PACKAGES.items())
    text = _TEXT.format(
        versions=versions,
        summary=_summary(found),
        wrong=_table(WRONG, found, wanted=False),
        right=_table(RIGHT, found, wanted=True),
        fast=f"{FAST:,}",
    )
    return text


def _summary(found: dict[str, dict[str, Verdict]]) -> str:
    rows = ["| | mistakes found | right backwards passed |", "|---|---|---|"]
    for name in CHECKERS:
        possible = [case for case in WRONG if found[case.name][name].accepted is not None]
        caught = sum(found[case.name][name].accepted is False for case in possible)
        passed = sum(found[case.name][name].accepted is True for case in RIGHT)
        rows.append(f"| {name} | {caught} of {len(possible)} | {passed} of {len(RIGHT)} |")
    return "\n".join(rows)


def _table(cases: Sequence[Case], found: dict[str, dict[str, Verdict]], *, wanted: bool) -> str:
    rows = [f"| kind | case | {' | '.join(CHECKERS)} |", "|---|---|" + "---|" * len(CHECKERS)]
    for case in cases:
        cells = [_word(found[case.name][name], wanted, mark=True) for name in CHECKERS]
        rows.append(f"| {case.group} | {case.name.replace('|', '&#124;')} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _word(verdict: Verdict, wanted: bool, *, mark: bool = False) -> str:
    if verdict.accepted is None:
        return "–"
    good = verdict.accepted is wanted
    word = ("passed" if verdict.accepted else "rejected") if wanted else ("missed" if verdict.accepted else "found")
    around = ("**" if good else "*") if mark else ""
    return f"{around}{word}{around}"


if __name__ == "__main__":
    raise SystemExit(main())
