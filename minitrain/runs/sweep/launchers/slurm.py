"""Jobs of a Slurm cluster, with submitit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ....errors import ConfigError
from ..engines import check_count, engine, threads_variable
from ..jobs import Job, Outcome, Work
from .submitted import run_submitted


class Slurm:
    """Hands the jobs to ``sbatch``, as one job array, and waits for them.

    The folder of the sweep has to be on a file system that all nodes share. A job that reaches its time limit, or is
    preempted, saves, is queued again and goes on.

    Args:
        partition: of the cluster; Slurm's default unless given.
        time: limit of a job in minutes.
        gpus: for each job.
        cpus: cores, and threads, for each job.
        memory: of a job in gigabytes; Slurm's default unless given.
        account: whom the time is charged to.
        qos: quality of service.
        constraint: features that the nodes must have.
        jobs: how many may run at a time; as many as Slurm lets, unless given.
        requeues: how many times a job may reach its time limit and go on.
        setup: shell commands before a job, such as ``['module load python']``.
        options: other options of ``sbatch``, such as ``{exclusive: true}``.

    Raises:
        ConfigError: if submitit is not installed, there is no Slurm here, or a number is too small.
    """

    def __init__(
        self,
        partition: str | None = None,
        time: int = 60,
        gpus: int = 0,
        cpus: int = 1,
        memory: int | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        jobs: int | None = None,
        requeues: int = 100,
        setup: tuple[str, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> None:
        for name, value, low in (("time", time, 1), ("gpus", gpus, 0), ("cpus", cpus, 1), ("requeues", requeues, 0)):
            check_count(f"launcher.{name}", value, low)
        check_count("launcher.memory", memory)
        check_count("launcher.jobs", jobs)
        self.at_once = jobs
        self._submitit = engine("submitit", "slurm", "--launcher slurm")
        if missing := [program for program in ("sbatch", "srun") if shutil.which(program) is None]:
            raise ConfigError(f"--launcher slurm: there is no {missing[0]} here; start it on the cluster")
        self._cpus, self._requeues = cpus, requeues
        given = {
            "slurm_partition": partition,
            "timeout_min": time,
            "gpus_per_node": gpus or None,
            "cpus_per_task": cpus,
            "mem_gb": memory,
            "slurm_account": account,
            "slurm_qos": qos,
            "slurm_constraint": constraint,
            "slurm_array_parallelism": jobs,
            "slurm_setup": list(setup) or None,
            "slurm_additional_parameters": options,
            "name": "minitrain",
        }
        self._parameters = {name: value for name, value in given.items() if value is not None}

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        """See `Launcher.run`."""
        environment = threads_variable(self._cpus)
        return run_submitted(self._executor, environment, jobs, work, window=None, cancel=True)

    def _executor(self, folder: Path) -> Any:
        executor = self._submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=self._requeues)
        executor.update_parameters(**self._parameters)
        return executor
