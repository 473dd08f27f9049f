"""Jobs handed to submitit: what its launchers share."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..jobs import Job, Outcome, Work
from ..process import execute_alone
from ..stop import signals_blocked

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 90.0  # for cancelled jobs; Slurm kills 30 seconds after its signal


class SubmittedJob:
    """A job as submitit calls it, on the machine that does it."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self.job, self.environment = job, environment

    def __call__(self) -> Outcome:
        """Do the job; if submitit says that the time is nearly up, let it save and have it queued again."""
        requests: list[int] = []
        queue_again = signal.signal(signal.SIGUSR2, lambda number, frame: requests.append(number))
        outcome = execute_alone(self.job, self.environment, lambda: min(1, len(requests)))
        if requests and outcome.state == "interrupted" and not self.job.stop.level() and callable(queue_again):
            queue_again(signal.SIGUSR2, None)  # calls `checkpoint` and ends this process
        return outcome

    def checkpoint(self) -> Any:
        """The call that submitit makes when the job is queued again: the same one; it finds what was saved."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_submitted(
    open_executor: Callable[[Path], Any],
    environment: Mapping[str, str],
    jobs: Sequence[Job],
    work: Work,
    *,
    window: int | None,
    cancel: bool,
) -> Iterator[Outcome]:
    """Submit jobs and yield an outcome for each.

    Args:
        open_executor: makes submitit's executor for a folder.
        environment: variables for the jobs.
        jobs: the jobs.
        work: see `Launcher.run`.
        window: how many jobs may be submitted at a time; ``None`` submits all, as one array.
        cancel: whether submitit has to cancel jobs when they are asked to stop; else they see that themselves.
    """
    if not jobs:
        return
    # A new folder each time: submitit reads results by pickle there, and nobody else's are to be read.
    folder = Path(tempfile.mkdtemp(prefix=".submitit-", dir=work.stop.path.parent))
    try:
        executor = open_executor(folder)
        with work.stop.asked_by_signals():
            yield from _watch(executor, environment, list(jobs), work, window, cancel)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watch(
    executor: Any, environment: Mapping[str, str], waiting: list[Job], work: Work, window: int | None, cancel: bool
) -> Iterator[Outcome]:
    running: list[tuple[Job, Any]] = []
    give_up: float | None = None
    while waiting or running:
        level = work.stop.level()
        if level and give_up is None:
            give_up = time.monotonic() + _GRACE_SECONDS
            yield from (Outcome(job.name, "waiting") for job in waiting)
            waiting = []
            for _, handle in running if cancel else ():
                handle.cancel(check=False)
        room = len(waiting) if window is None else window - len(running)
        if batch := waiting[:room]:
            waiting = waiting[room:]
            running += _submit(executor, batch, environment, work)
        lost = level > 2 or (give_up is not None and time.monotonic() > give_up)
        for job, handle in [pair for pair in running if lost or pair[1].done(force_check=give_up is not None)]:
            running.remove((job, handle))
            yield Outcome(job.name, "interrupted") if lost else _outcome(job, handle)
        time.sleep(_POLL_SECONDS)


def _submit(executor: Any, batch: Sequence[Job], environment: Mapping[str, str], work: Work) -> list[tuple[Job, Any]]:
    # A terminal sends Ctrl-C to all processes, and submitit's local ones would kill their jobs without saving.
    with signals_blocked(signal.SIGINT), executor.batch():
        handles = [executor.submit(SubmittedJob(job, environment)) for job in batch]
    for job, handle in zip(batch, handles, strict=True):
        work.begun(job, f"is submitted as job {handle.job_id}")
    return list(zip(batch, handles, strict=True))


def _outcome(job: Job, handle: Any) -> Outcome:
    try:
        outcome = handle.result()
    except Exception as error:  # the job's process ended without an outcome, or submitit failed in it
        if job.stop.level():
            return Outcome(job.name, "interrupted")
        return Outcome(job.name, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[-500:])
    assert isinstance(outcome, Outcome)
    return outcome
