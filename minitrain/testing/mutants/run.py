"""Tries all mutants of some functions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import workers
from .equivalents import Equivalent
from .progress import Progress
from .report import MutationReport
from .session import Outcome, Visit
from .target import Target, target_of


def try_mutants(
    functions: Iterable[Callable[..., Any] | str | Target],
    tests: Iterable[str | Path],
    *,
    own_tests: Mapping[str, Sequence[str | Path]] | None = None,
    processes: int = 1,
    equivalents: Sequence[Equivalent] = (),
    progress_file: str | Path | None = None,
    keep: bool = False,
    seconds: float = math.inf,
    patience: float = workers.PATIENCE,
    tell: Callable[[str], None] = lambda message: None,
) -> MutationReport:
    """Plant every small mistake in some functions, one at a time, and find those that no test notices.

    The tests run in pytest, in processes of their own, from the working directory. First each test runs once, to see
    which functions it calls; then each mutant meets the tests that call its function, until one fails.

    Args:
        functions: what gets mistakes, such as a backward or a layer's method; or names, such as
            ``"my_layers:Gate.backward"``. Another process must be able to import them from the working directory.
        tests: test files.
        own_tests: for some functions, by the names that a `Target` gives them, those of the test files that are to
            notice their mistakes; by default any that calls them.
        processes: how many run at once.
        equivalents: mutants that are known to make no difference.
        progress_file: keeps the outcomes. A run that was stopped goes on from it, for functions whose files are the
            same. If a test file changed, mutants that no test noticed are tried again; one that a test noticed counts
            as noticed while that test is there and passes.
        keep: whether the progress file stays when all are tried, so that better tests meet only what was unnoticed.
        seconds: a budget of time. When it is spent, the report has what was tried so far.
        patience: seconds. A mutant hangs, and counts as noticed, if a test takes longer than this and ten times the
            slowest test of its function together. Give less for quick tests: some mistakes make a loop endless.
        tell: hears how far it is.

    Returns:
        The report; ``report.unnoticed`` is what your tests miss.

    Raises:
        ValueError: if there is nothing to try.
        RuntimeError: if a test fails without any mistake.

    Example:
        Which mistakes in a layer would your tests miss?

        ```python
        from minitrain.testing.mutants import try_mutants

        report = try_mutants(["my_layers:Gate.forward", "my_layers:Gate.backward"], ["test_my_layers.py"])
        print(report)
        ```
    """
    targets = [function if isinstance(function, Target) else target_of(function) for function in functions]
    by_name = {target.name: target for target in targets}
    files = [str(test) for test in tests]
    if not by_name or not files:
        raise ValueError("try_mutants: give at least one function and one test file")
    if missing := [file for file in files if not Path(file).is_file()]:
        raise ValueError(f"try_mutants: there is no test file {missing[0]}")
    mutants = {name: list(target.mutants()) for name, target in by_name.items()}
    until = time.monotonic() + seconds
    todo = [(name, number) for name, found in mutants.items() for number in range(len(found))]
    references = [target.reference for target in by_name.values()]
    progress = Progress(progress_file, by_name.values(), files)

    visits = progress.visits
    if not visits:
        visits = workers.survey(references, files, processes, lambda done: tell(f"{done} tests surveyed"))
        progress.surveyed(visits)
    visits = [_of_own(visit, own_tests or {}) for visit in visits]
    done = {(outcome.target, outcome.number): outcome for outcome in progress.outcomes}

    def note(outcome: Outcome) -> None:
        done[outcome.target, outcome.number] = outcome
        progress.tried(outcome)
        alive = sum(not outcome.killer for outcome in done.values())
        tell(f"{len(done)} of {len(todo)} mutants tried, {alive} unnoticed")

    left = [mutant for mutant in todo if mutant not in done]
    workers.hunt(left, visits, references, files, processes, note, until, patience)
    if len(done) == len(todo) and not keep:
        progress.remove()
    outcomes = [done[mutant] for mutant in todo if mutant in done]
    called = {name for visit in visits for name in visit.called}
    uncalled = [name for name in by_name if name not in called]
    return MutationReport(list(by_name.values()), mutants, outcomes, equivalents, uncalled)


def _of_own(visit: Visit, own_tests: Mapping[str, Sequence[str | Path]]) -> Visit:
    """The visit of a test, without the functions that have tests of their own elsewhere."""
    file = Path(visit.test.partition("::")[0]).resolve()
    elsewhere = {name for name, files in own_tests.items() if file not in map(Path.resolve, map(Path, files))}
    return visit._replace(called=[name for name in visit.called if name not in elsewhere])
