"""Jobs on this machine by way of submitit: what ``slurm`` does, without a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..engines import SharedCores, threads_each, threads_variable
from ..jobs import Job, Outcome, Work
from .submitted import run_submitted

_A_YEAR = 60 * 24 * 365


class SubmititLocal(SharedCores):
    """To try on one machine what will run on a cluster."""

    needs = ("submitit", "slurm", "--launcher submitit-local")

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        """See `Launcher.run`."""
        environment = threads_variable(threads_each(self.at_once))
        return run_submitted(self._executor, environment, jobs, work, window=self.at_once, cancel=False)

    def _executor(self, folder: Path) -> Any:
        executor = self.engine.AutoExecutor(folder, cluster="local")
        executor.update_parameters(timeout_min=_A_YEAR)
        return executor
