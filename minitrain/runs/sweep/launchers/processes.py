"""Several jobs at a time on this machine, with joblib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..engines import check_count, engine, threads_each, threads_variable
from ..jobs import Job, Outcome, Work
from ..process import execute


class Processes:
    """Joblib's threads each start a job's process and wait for it.

    Joblib's own processes would do the jobs a little sooner, but one that is killed, for memory say, takes the
    results of all others with it.

    Args:
        jobs: how many run at a time; they share the cores.

    Raises:
        ConfigError: if joblib is not installed, or ``jobs`` is less than 1.
    """

    def __init__(self, jobs: int = 2) -> None:
        check_count("launcher.jobs", jobs)
        self.at_once = jobs
        self._joblib = engine("joblib", "joblib", "running jobs side by side")

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        """See `Launcher.run`."""
        environment = threads_variable(threads_each(self.at_once))

        def one(job: Job) -> Outcome:
            if not work.stop.level():
                work.begun(job, "begins")
            return execute(job, environment)

        parallel = self._joblib.Parallel(
            n_jobs=self.at_once,
            backend="threading",
            batch_size=1,
            pre_dispatch="n_jobs",
            return_as="generator_unordered",
        )
        with work.stop.asked_by_signals():
            yield from parallel(self._joblib.delayed(one)(job) for job in jobs)
