"""Runs the survey and the hunt in processes, and replaces those that hang or die."""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .session import Outcome, Visit

STUCK = 600  # seconds without a sign of life; the slowest test takes a few, or a minute if it compiles all kernels
# On a mutant, a test may take so many times as long as the slowest test of the function, and so many seconds more.
SLOWER, PATIENCE = 10, 60.0
POLL = 0.1

Reference = tuple[str, str]  # module and qualified name of a function


def survey(
    targets: Sequence[Reference], files: Sequence[str], processes: int, tell: Callable[[int], None]
) -> list[Visit]:
    """Run all tests once.

    Args:
        targets: the functions whose callers are wanted.
        files: test files.
        processes: how many at once.
        tell: hears how many tests are done.

    Raises:
        RuntimeError: if a test fails without any mistake planted, or a process dies.
    """
    visits: list[Visit] = []
    with _Team(files) as team:
        for part in range(processes):
            team.start({"targets": targets, "survey": [part, processes]})
        for worker, kind, values in team.results():
            if kind == "visit":
                visits.append(Visit(*values))
                tell(len(visits))
            elif values not in (0, 1):  # 1: a test has failed, which is told below
                raise RuntimeError(f"the tests do not run without mistakes: pytest ended with {values}\n{worker.log()}")
    if failed := [visit.test for visit in visits if not visit.passed]:
        raise RuntimeError(f"{len(failed)} tests fail without any mistake, such as {', '.join(failed[:5])}")
    return visits


def hunt(
    todo: Sequence[tuple[str, int]],
    visits: Sequence[Visit],
    targets: Sequence[Reference],
    files: Sequence[str],
    processes: int,
    tell: Callable[[Outcome], None],
    until: float = math.inf,
    patience: float = PATIENCE,
) -> list[Outcome]:
    """Try the mutants of ``todo``. One whose process hangs or dies counts as noticed.

    Args:
        todo: targets and numbers of mutants.
        visits: the survey.
        targets: where the functions are.
        files: test files.
        processes: how many at once.
        tell: hears each outcome.
        until: the time on ``time.monotonic`` when to stop; mutants that are left have no outcome.
        patience: seconds. A mutant hangs if a test takes longer than this and `SLOWER` times the slowest one together.
    """
    outcomes: list[Outcome] = []
    slowest = {name: max((v.seconds for v in visits if name in v.called), default=0.0) for name, _ in todo}

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        tell(outcome)

    with _Team(files) as team:
        for part in range(processes):
            if todo[part::processes]:
                team.start({"targets": targets, "visits": visits, "todo": todo[part::processes]})
        for worker, kind, values in team.results(until):
            if kind == "start":
                worker.current = (values[0], values[1])
                worker.limit = patience + SLOWER * slowest[values[0]]
            elif kind == "outcome":
                note(Outcome(*values))
                worker.done += 1
            elif kind == "ended":
                worker.ended = True  # of its own accord: what it left goes to a fresh process
            elif (rest := worker.task["todo"][worker.done :]) and worker.ended:
                team.start({**worker.task, "todo": rest})
            elif rest := worker.task["todo"][worker.done :]:
                if worker.current != tuple(rest[0]):
                    raise RuntimeError(f"pytest ended with {values} before the first mutant\n{worker.log()}")
                name, number = rest[0]
                note(Outcome(name, number, "(hangs)" if values == "stuck" else f"(the process ends with {values})"))
                if rest[1:]:
                    team.start({**worker.task, "todo": rest[1:]})
    return outcomes


class _Worker:
    """One process with its task, and how far it is."""

    def __init__(self, folder: Path, number: int, task: dict[str, Any], files: Sequence[str]) -> None:
        self.task, self.done, self.ended = task, 0, False
        self.current: tuple[str, int] | None = None
        self.limit: float = STUCK
        self._results, self._log = folder / f"{number}.results", folder / f"{number}.log"
        self._results.touch()
        self._read = 0
        task_file = folder / f"{number}.task"
        task_file.write_text(json.dumps(task), encoding="utf-8")
        code = f"import sys, {__package__}.session as session; sys.exit(session.main(*sys.argv[1:]))"
        command = [sys.executable, "-c", code, str(task_file), str(self._results), *files]
        # One thread each: processes that share the cores must not wait for each other in parallel regions.
        environment = {**os.environ, "MINITRAIN_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def lines(self) -> list[list[Any]]:
        """Its output since the last call."""
        with self._results.open(encoding="utf-8") as file:
            file.seek(self._read)
            text = file.read()
            whole = text[: text.rfind("\n") + 1]
            self._read += len(whole.encode())
        return [json.loads(line) for line in whole.splitlines()]

    def is_stuck(self) -> bool:
        return time.time() - self._results.stat().st_mtime > self.limit

    def log(self) -> str:
        """The end of what pytest printed."""
        return self._log.read_text()[-2000:]


class _Team:
    """The processes, in a ``with`` block that leaves none behind."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files, self._started = files, 0
        self._workers: list[_Worker] = []
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.process.kill()
            worker.process.wait()
        self._folder.cleanup()

    def start(self, task: dict[str, Any]) -> None:
        """Give a new process its task."""
        self._workers.append(_Worker(Path(self._folder.name), self._started, task, self._files))
        self._started += 1

    def results(self, until: float = math.inf) -> Iterator[tuple[_Worker, str, Any]]:
        """Each line of a process as (worker, kind, values), and at its end (worker, "end", exit code or "stuck")."""
        while self._workers and time.monotonic() < until:
            time.sleep(POLL)
            for worker in list(self._workers):
                ended: Any = worker.process.poll()
                if ended is None and worker.is_stuck():
                    worker.process.kill()
                    worker.process.wait()
                    ended = "stuck"
                for kind, *values in worker.lines():
                    yield worker, kind, values
                if ended is not None:
                    self._workers.remove(worker)
                    yield worker, "end", ended
