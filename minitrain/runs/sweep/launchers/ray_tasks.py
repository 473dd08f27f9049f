"""Jobs as tasks of a Ray cluster, or of a Ray that is started on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ....distributed.launch.ray_train import connect
from ..engines import check_count, engine, threads_each, threads_variable
from ..jobs import Job, Outcome, Work
from ..process import execute_alone

_POLL_SECONDS = 0.5


class RayTasks:
    """Ray starts a job wherever the cores and GPUs for it are free.

    Args:
        address: of a cluster, such as ``auto`` or ``ray://head:10001``; Ray starts on this machine unless given.
        jobs: how many run at a time on this machine; they share the cores. A cluster runs as many as fit.
        cpus: cores, and threads, for each job; the share of a job on this machine unless given, 1 on a cluster.
        gpus: for each job; a job sees only its own.

    Raises:
        ConfigError: if Ray is not installed, or a number is too small.
    """

    def __init__(self, address: str | None = None, jobs: int = 2, cpus: int | None = None, gpus: float = 0.0) -> None:
        check_count("launcher.jobs", jobs)
        check_count("launcher.cpus", cpus)
        if gpus < 0:
            check_count("launcher.gpus", -1, 0)
        self.at_once = jobs
        self._ray = engine("ray", "ray", "--launcher ray")
        self._address, self._gpus = address, gpus
        self._cpus = cpus or (threads_each(jobs) if address is None else 1)

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        """See `Launcher.run`."""
        if not jobs:
            return
        ray = self._ray
        here = {"num_cpus": self._cpus * self.at_once, "include_dashboard": False} if self._address is None else {}
        connect(ray, {"address": self._address or "local", "log_to_driver": False, **here})
        try:
            with work.stop.asked_by_signals():  # after `init`, which sets handlers of its own
                yield from self._watch(jobs, work)
        finally:
            ray.shutdown()

    def _watch(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        ray, environment = self._ray, threads_variable(self._cpus)
        # max_retries: a job whose process is lost has failed, and resuming the sweep goes on with it.
        task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)(execute_alone)
        running: dict[Any, Job] = {}
        for job in jobs:
            running[task.remote(job, environment)] = job
            work.begun(job, "is handed to Ray")
        while running:
            done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_SECONDS)
            if work.stop.level() > 2:
                done = list(running)
                with contextlib.suppress(Exception):
                    for reference in done:
                        ray.cancel(reference, force=True)
            for reference in done:
                yield self._outcome(running.pop(reference), reference)

    def _outcome(self, job: Job, reference: Any) -> Outcome:
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:  # its worker is gone
            if job.stop.level():
                return Outcome(job.name, "interrupted")
            return Outcome(job.name, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:500])
        assert isinstance(outcome, Outcome)
        return outcome
