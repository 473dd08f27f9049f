"""Ranks as workers of Ray Train, which starts them on this machine or on a cluster, and again after a failure.

Ray's own sums on a CPU need PyTorch, so Ray only starts and watches: its backend hands round where rank 0 listens, and
each worker runs the same command as a rank that any other launcher started, see `minitrain.distributed.environment`.

Each start is a `DataParallelTrainer` of its own, with as many workers as there is room for. So a training whose machine
is gone goes on with fewer, and only with a number of ranks that ends with the same bytes. Ray's own elastic scaling
would take any number.

Tested with Ray 2.60; ``execute``, ``execute_single`` and ``ray.train.v2`` are not promised by Ray to stay.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...backend.cores import usable_cores
from ...errors import ConfigError, WorkerError
from ..micro_batches import valid_ranks
from ..tcp.meeting import free_port

ANSWER = 30.0
"""Seconds in which a machine of a cluster must answer to count as there, after a failure."""
_QUIET = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_DEDUP_LOGS": "0",  # else lines are held back for five seconds
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60",  # if the room for a worker is gone before it starts
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else every line of a worker comes twice
    "RAY_worker_niceness": "0",  # Ray gives its workers 15: any other program would go before the training
    "RAY_DISABLE_MEMORY_MONITOR": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
_seat: dict[str, str] = {}
"""In a worker: the variables of its group, which the backend has sent."""


@dataclass(frozen=True)
class RayJob:
    """A training that Ray is to start.

    Attributes:
        main: the command line: takes arguments, returns the exit code.
        argv: arguments of ``train``.
        ranks: how many workers are wanted.
        micro_batches: which they share; decides how many there may be.
        run: the run folder.
        config: the file in it that is there as soon as a worker that is started again can go on.
        max_failures: how often they are started again.
    """

    main: Callable[[list[str]], int]
    argv: tuple[str, ...]
    ranks: int
    micro_batches: int
    run: str
    config: str
    max_failures: int = 0

    def arguments(self, attempt: int) -> list[str]:
        """Of ``train`` at an attempt, from 0: later ones go on where the first got to."""
        if attempt == 0 or "--resume" in self.argv or not os.path.exists(os.path.join(self.run, self.config)):
            return list(self.argv)
        plugins = [self.argv[i + k] for i, word in enumerate(self.argv) if word == "--plugin" for k in (0, 1)]
        plugins += [word for word in self.argv if word.startswith("--plugin=")]
        return ["--resume", self.run, *plugins]


def run_on_ray(job: RayJob) -> int:
    """Run ``minitrain train`` on workers of Ray, and wait for their end.

    Ray is started on this machine, unless ``RAY_ADDRESS`` names a cluster. There, each worker gets
    ``MINITRAIN_NUM_THREADS`` cores, 1 by default, and all machines must reach the run folder.

    Returns:
        The exit code.

    Raises:
        ConfigError: if Ray is not installed.
        WorkerError: if Ray does not start, or there is no such cluster.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.train.v2.api.data_parallel_trainer
    except ImportError as error:
        raise ConfigError(f"distributed=ray needs Ray ({error}): pip install 'minitrain[ray]'") from error
    threads = int(os.environ.get("MINITRAIN_NUM_THREADS") or 0)
    if address := os.environ.get("RAY_ADDRESS"):
        place = os.path.dirname(os.path.abspath(job.run))
        os.makedirs(place, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=".ray-", dir=place)  # where all machines can reach it
        cpus = threads = max(1, threads)
        options: dict[str, Any] = {"address": address}
    else:
        scratch = tempfile.mkdtemp(prefix="minitrain-ray-")
        cpus, threads = 1, threads or max(1, usable_cores().number // job.ranks)
        options = {
            "address": "local",  # by default Ray joins a cluster that runs already
            "num_cpus": job.ranks,
            "include_dashboard": False,
            "object_store_memory": 100 << 20,
            "_temp_dir": scratch,
        }
    existed = "--resume" not in job.argv and os.path.exists(os.path.join(job.run, job.config))
    try:
        connect(ray, options)
        # A new run in the folder of another is refused by its first attempt; the second would go on with the other.
        return _attempts(job, cpus, threads, scratch, 0 if existed else job.max_failures)
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def connect(ray: Any, options: Mapping[str, Any]) -> None:
    """Start Ray, or join a cluster.

    Args:
        ray: the module.
        options: of ``ray.init``; ``address`` is ``local`` or that of a cluster.

    Raises:
        WorkerError: if that fails; Ray's own errors are of any class.
    """
    for last in (False, False, True):
        try:
            ray.init(logging_level=logging.ERROR, logging_config=ray.LoggingConfig(log_level="ERROR"), **options)
            return
        except Exception as error:
            ray.shutdown()
            if not last and "timed out during startup" in str(error):
                continue  # Ray waits 30 s, which a busy machine may need to read its files
            reason = " ".join(str(error).split())[:400]
            where = "on this machine" if options["address"] == "local" else f"at the address {options['address']}"
            raise WorkerError(f"Ray cannot be started or reached {where}: {reason}") from error


def _attempts(job: RayJob, cpus: int, threads: int, scratch: str, max_failures: int) -> int:
    """Start the workers until they come to the end, or have failed too often; returns the exit code."""
    for attempt in range(max_failures + 1):
        workers = workers_that_fit(job.ranks, job.micro_batches, _room(cpus, careful=attempt > 0))
        if not workers:
            print(f"minitrain: error: Ray has no machine with {cpus} free cores for a worker", file=sys.stderr)
            return 1
        if workers < job.ranks:
            print(f"minitrain: Ray has no room for {job.ranks} workers: {workers} train", file=sys.stderr, flush=True)
        task = {
            "main": job.main,
            "argv": job.arguments(attempt),
            "folder": os.getcwd(),
            "threads": str(threads),
        }
        try:
            _trainer(task, workers, cpus, scratch, attempt).fit()
            return 0
        except Exception as error:  # Ray has classes of its own; the rank that failed has printed its traceback
            told = re.search(r"ended with exit code (\d+)", str(error))
            code = int(told[1]) if told else 1
            last = f"{str(error).strip().splitlines()[-1]:.500}"
            if attempt == max_failures or code == 2:  # 2 is a mistake in the command: the next would make it too
                print(f"minitrain: error: {last}", file=sys.stderr)
                return code
            print(
                f"minitrain: {last}; starting again, {max_failures - attempt} times at most",
                file=sys.stderr,
                flush=True,
            )
    return 1


def workers_that_fit(ranks: int, micro_batches: int, room: int) -> int:
    """The largest number of workers that may share the micro-batches and has room; 0 if not even one has.

    Example:
        >>> [workers_that_fit(4, 8, room) for room in (5, 4, 3, 1, 0)]
        [4, 4, 2, 1, 0]
    """
    return max((valid for valid in valid_ranks(micro_batches) if valid <= min(ranks, room)), default=0)


def _room(cpus: int, *, careful: bool) -> int:
    """How many workers the machines can hold; if ``careful``, those machines that answer.

    Ray may count a machine that is gone for half a minute more. An answer needs a new process there.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: int(node["Resources"].get("CPU", 0) // cpus) for node in ray.nodes() if node["Alive"]}
    if not careful:
        return sum(nodes.values())
    ask = ray.remote(num_cpus=0, max_retries=0)(_here)
    asked = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(): node
        for node in nodes
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER)
    if not answered:
        answered, _ = ray.wait(list(asked), num_returns=1, timeout=3 * ANSWER)
    room = 0
    for reference in answered:
        try:
            ray.get(reference)
            room += nodes[asked[reference]]
        except ray.exceptions.RayError:
            continue
    return room


def _trainer(task: dict[str, Any], workers: int, cpus: int, scratch: str, attempt: int) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    return DataParallelTrainer(
        run_rank,
        train_loop_config=task,
        backend_config=_backend(),
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": cpus}),
        run_config=RunConfig(
            name=f"attempt-{attempt}",
            storage_path=scratch,
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )


def run_rank(task: dict[str, Any]) -> None:
    """The work of a worker: the command, as the rank that Ray has made of it.

    Raises:
        WorkerError: if it fails.
    """
    import ray.train

    context = ray.train.get_context()
    os.environ.update(
        _seat,
        MINITRAIN_RANK=str(context.get_world_rank()),
        MINITRAIN_RANKS=str(context.get_world_size()),
        MINITRAIN_NUM_THREADS=task["threads"],
    )
    os.chdir(task["folder"])
    code = task["main"](["train", *task["argv"]])
    if code:
        raise WorkerError(f"rank {context.get_world_rank()} ended with exit code {code}")
    ray.train.report({})


def _backend() -> Any:
    """Ray's interface to what a framework needs before it trains: here, that all know where rank 0 listens."""
    from ray.train.backend import Backend, BackendConfig

    class SeatBackend(Backend):  # type: ignore[misc]
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            root = worker_group.execute_single(0, _root)
            worker_group.execute(_remember, {"MINITRAIN_ROOT": root, "MINITRAIN_TOKEN": secrets.token_hex(16)})

    class SeatConfig(BackendConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> Any:
            return SeatBackend

    return SeatConfig()


def _root() -> str:
    import ray

    host = ray.util.get_node_ip_address()
    return f"{host}:{free_port(host)}"


def _remember(seat: dict[str, str]) -> None:
    _seat.update(seat)


def _here() -> None:
    """An answer."""
