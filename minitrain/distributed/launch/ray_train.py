"""Ranks as workers of Ray Train, which starts them on this machine and starts them again after a failure.

Ray's own sums on a CPU need PyTorch, so Ray only starts and watches: its backend hands round where rank 0 listens, and
each worker runs the same command as a rank that any other launcher started, see `minitrain.distributed.environment`.
Tested with Ray 2.60; ``execute``, ``execute_single`` and ``ray.train.v2`` are not promised by Ray to stay.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from ...backend.cores import usable_cores
from ...errors import ConfigError, WorkerError
from ..tcp import free_port

_QUIET = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_DEDUP_LOGS": "0",  # else lines are held back for five seconds
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else every line of a worker comes twice
    "RAY_DISABLE_MEMORY_MONITOR": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
_seat: dict[str, str] = {}
"""In a worker: the variables of its group, which the backend has sent."""


def run_on_ray(
    main: Callable[[list[str]], int], argv: Sequence[str], ranks: int, *, resume: str, max_failures: int = 0
) -> int:
    """Run ``minitrain train`` on workers of a Ray that is started on this machine, and wait for their end.

    Args:
        main: the command line: takes arguments, returns the exit code.
        argv: arguments of ``train``.
        ranks: how many workers.
        resume: the run folder: where it has checkpoints, a worker that is started again goes on from there.
        max_failures: how often Ray starts them again.

    Returns:
        The exit code.

    Raises:
        ConfigError: if Ray is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
    except ImportError as error:
        raise ConfigError(f"distributed=ray needs Ray ({error}): pip install 'minitrain[ray]'") from error
    threads = os.environ.get("MINITRAIN_NUM_THREADS") or str(max(1, usable_cores().number // ranks))
    task = {"main": main, "argv": list(argv), "folder": os.getcwd(), "run": resume, "threads": threads}
    scratch = tempfile.mkdtemp(prefix="minitrain-ray-")
    ray.init(
        address="local",  # by default Ray joins a cluster that runs already
        num_cpus=ranks,
        include_dashboard=False,
        logging_level=logging.ERROR,
        logging_config=ray.LoggingConfig(log_level="ERROR"),
        object_store_memory=100 << 20,
        _temp_dir=scratch,
    )
    try:
        DataParallelTrainer(
            run_rank,
            train_loop_config=task,
            backend_config=_backend(),
            scaling_config=ScalingConfig(num_workers=ranks, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(
                name="minitrain", storage_path=scratch, failure_config=FailureConfig(max_failures=max_failures)
            ),
        ).fit()
    except Exception as error:  # Ray has classes of its own; the rank that failed has printed its traceback
        print(f"minitrain: error: {str(error).strip().splitlines()[-1]:.500}", file=sys.stderr)
        return 1
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


def run_rank(task: dict[str, Any]) -> None:
    """What a worker does: the command, as the rank that Ray has made of it.

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
    argv = task["argv"]
    checkpoints = os.path.join(task["run"], "checkpoints")
    if os.path.isdir(checkpoints) and any(name.startswith("step-") for name in os.listdir(checkpoints)):
        plugins = [argv[i + k] for i, word in enumerate(argv) if word == "--plugin" for k in (0, 1)]
        argv = ["--resume", task["run"], *plugins]
    code = task["main"](["train", *argv])
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
