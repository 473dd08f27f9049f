"""Jobs on this machine by way of submitit: what ``slurm`` does, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..engines import check_count, engine, threads_each, threads_variable
from ..jobs import Job, Outcome, Work
from .submitted import run_submitted

_A_YEAR = 60 * 24 * 365


class SubmititLocal:
    """To try on one machine what will run on a cluster.

    Args:
        jobs: how many run at a time; they share the cores.

    Raises:
        ConfigError: if submitit is not installed, or ``jobs`` is less than 1.
    """

    def __init__(self, jobs: int = 2) -> None:
        check_count("launcher.jobs", jobs)
        self.at_once = jobs
        self._submitit = engine("submitit", "slurm", "--launcher submitit-local")

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        """See `Launcher.run`."""
        environment = threads_variable(threads_each(self.at_once))
        return run_submitted(self._executor, environment, jobs, work, window=self.at_once, cancel=False)

    def _executor(self, folder: Path) -> Any:
        executor = self._submitit.AutoExecutor(folder, cluster="local")
        executor.update_parameters(timeout_min=_A_YEAR)
        return executor
