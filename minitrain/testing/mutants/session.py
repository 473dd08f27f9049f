"""Inside one pytest process: which tests call which function, and which mutants they notice.

The plugin lets pytest collect the tests once and then runs them itself: in a *survey* each test once, with code that
notes who was called; in a *hunt* for each mutant the tests that call its function, until the first one fails.
"""

from __future__ import annotations

import ast
import builtins
import contextvars
import copy
import ctypes
import functools
import importlib.util
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from .mistakes import Mutant
from .target import Target, target_of

PR_SET_PDEATHSIG = 1  # Linux's prctl: the signal that this process gets when the one that started it ends
NOTE = "__mutation_note__"  # what the code of a survey calls with the name of its function


class Visit(NamedTuple):
    """One test of the survey."""

    test: str
    passed: bool
    seconds: float
    called: list[str]  # names of targets


class Outcome(NamedTuple):
    """The result of one mutant."""

    target: str
    number: int  # the index of the mutant among those of its target
    killer: str  # the test that noticed it, or an empty string


Check = Callable[[], bool]  # runs a test; whether it passed


@contextmanager
def exchanged(target: Target, code: CodeType) -> Iterator[None]:
    """Let the function of ``target`` run other code inside a ``with`` block."""
    before = target.function.__code__
    target.function.__code__ = code
    target.forget()
    try:
        yield
    finally:
        target.function.__code__ = before
        target.forget()


def survey(checks: Mapping[str, Check], targets: Mapping[str, Target]) -> Iterator[Visit]:
    """Run every test once, with empty caches, and note the targets that it calls."""
    called: set[str] = set()
    setattr(builtins, NOTE, called.add)
    with ExitStack() as stack:
        for target in targets.values():
            stack.enter_context(exchanged(target, target.compiled(_noting(target))))
        folders = {target.folder: target for target in targets.values()}
        for test, check in checks.items():
            for target in folders.values():
                target.forget()  # a cache that an earlier test has filled hides a call
            called.clear()
            start = time.perf_counter()
            passed = check()
            yield Visit(test, passed, time.perf_counter() - start, sorted(called))


def hunt(
    todo: Sequence[tuple[str, int]],
    targets: Mapping[str, Target],
    visits: Sequence[Visit],
    checks: Mapping[str, Check],
    starting: Callable[[str, int], None] = lambda target, number: None,
) -> Iterator[Outcome]:
    """Try mutants one after another.

    A test that fails on a mutant is run again on the code as it is. If it fails there too, it has not noticed the
    mutant: a mutant may have left something behind in this process, which then is of no more use. The generator ends
    before its time, after at least one mutant; a mutant that a spoiled test might have noticed is left for another
    process, unless it was the first of this one.

    Args:
        todo: targets and numbers of mutants, those of one target in a row.
        targets: by name.
        visits: the survey.
        checks: the tests by name.
        starting: told of each mutant before it is tried.
    """
    kills: Counter[str] = Counter()
    trees: dict[str, list[Mutant]] = {}
    for place, (name, number) in enumerate(todo):
        starting(name, number)
        target = targets[name]
        if name not in trees:
            kills.clear()
            trees = {name: list(target.mutants())}
        tests = [visit for visit in visits if name in visit.called]
        # First those that cost least for a chance: quick ones, and those that noticed other mutants of this function.
        tests.sort(key=lambda v: (v.seconds / (1 + kills[v.test]), v.test))
        code, killer, spoiled = target.compiled(trees[name][number].tree), "", False
        for test in (visit.test for visit in tests):
            with exchanged(target, code):
                passed = checks[test]()
            if not passed and checks[test]():
                killer = test
                break
            spoiled |= not passed
        kills[killer] += 1
        if killer or not spoiled or place == 0:
            yield Outcome(name, number, killer)
        if spoiled:
            return


def _noting(target: Target) -> ast.FunctionDef:
    """The function with a call of ``NOTE`` in front."""
    tree = copy.deepcopy(target.tree)
    tree.body.insert(0, ast.parse(f"{NOTE}({target.name!r})").body[0])
    return tree


class Plugin:
    """Takes the place of pytest's loop over the tests.

    Args:
        task: the names of the tests to survey, or the mutants to hunt, as ``workers`` writes them into a file.
        results: file that gets a line of JSON for each result.
    """

    def __init__(self, task: Mapping[str, Any], results: Path) -> None:
        self.task, self.results = task, results
        self.failed = False
        self._parent = os.getppid()

    def pytest_collection(self) -> None:
        """Have Hypothesis report the first failure as it is: one is enough, small or not."""
        from hypothesis import Phase, settings

        profile = settings(settings.default, phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False)
        settings.register_profile("mutation", profile)
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: Any) -> bool:
        """Run the task instead of the tests."""
        found = {}
        for module, name in self.task["targets"]:
            target = target_of(f"{module}:{name}")
            found[target.name] = target
        items = {item.nodeid: item for item in session.items}
        with self.results.open("a", encoding="utf-8") as file:

            def write(kind: str, values: Any) -> None:
                file.write(json.dumps([kind, *values]) + "\n")
                file.flush()

            def check(item: Any) -> Check:
                return functools.partial(self._passes, item)

            if "survey" in self.task:
                part, parts = self.task["survey"]
                mine = {name: check(item) for i, (name, item) in enumerate(items.items()) if i % parts == part}
                for visit in survey(mine, found):
                    write("visit", visit)
            else:
                visits = [Visit(*visit) for visit in self.task["visits"]]
                checks = {visit.test: check(items[visit.test]) for visit in visits}
                todo = [(target, number) for target, number in self.task["todo"]]
                for outcome in hunt(todo, found, visits, checks, lambda *mutant: write("start", mutant)):
                    write("outcome", outcome)
                write("ended", ())
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Hear how a test went."""
        self.failed |= report.failed

    def _passes(self, item: Any) -> bool:
        """Run one collected test as pytest does, with its fixtures and filters of warnings.

        Each run has context variables of its own: one that a mutant sets and leaves behind would fail all later runs.
        """
        if os.getppid() != self._parent:
            os._exit(1)  # whoever started this process was killed: nobody waits for the outcome
        os.utime(self.results)  # a sign of life
        self.failed = False
        contextvars.copy_context().run(item.ihook.pytest_runtest_protocol, item=item, nextitem=None)
        return not self.failed


def main(task_file: str, results: str, *arguments: str) -> int:
    """Run pytest on ``arguments`` with the plugin; returns its exit code."""
    import pytest

    if sys.platform == "linux":  # elsewhere an endless loop outlives a parent that was killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    options = ["-q", "-p", "no:cacheprovider", "--tb=no", "-p", "no:randomly"]
    if importlib.util.find_spec("xdist"):
        options.append("-n0")  # whatever the project's own options say: the processes are ours
    return int(pytest.main([*options, *arguments], plugins=[Plugin(task, Path(results))]))
