"""``minitrain train`` on several ranks: started here, or by ``mpirun`` and ``srun``; one of them talks to the user."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...distributed.environment import seat
from ...distributed.group import Group, PeerLost
from ...distributed.joined import end_all_of_mpi, joined, wait_for_the_end_by_mpi
from ...errors import MinitrainError
from ..failures import describe

if TYPE_CHECKING:
    from ...runs.config import RunConfig


class SilentExit(SystemExit):
    """The end of a rank whose error another rank tells."""


def start_ranks(arguments: argparse.Namespace, argv: Sequence[str]) -> int | None:
    """Start the ranks that the settings ask for and wait for their end.

    Returns:
        The exit code; ``None`` if this process itself is to train: nobody asked for ranks, or it is one.
    """
    if seat(os.environ) is not None:
        return None
    asked = _asked_for(arguments)
    if asked.engine is None:
        return None
    if asked.engine == "ray":
        folder, added = asked.folder, list[str]()
        if folder is None:  # known from the start, so that workers which are started again find it
            from ...runs.run import new_folder

            assert asked.config is not None
            folder = str(new_folder(asked.config).path.absolute())
            added = [f"run_dir='{folder}'"]
        return _on_ray([*argv, *added], asked, folder)
    return _as_processes(argv, asked.ranks)


def start_ranks_of_job(config: RunConfig, argv: Sequence[str]) -> int:
    """Start the ranks of a run of a sweep and wait for their end.

    A job that was given some threads divides them among its ranks.

    Args:
        config: of the run.
        argv: arguments of ``train`` that do the job.

    Returns:
        The exit code.
    """
    if given := os.environ.get("MINITRAIN_NUM_THREADS"):
        os.environ["MINITRAIN_NUM_THREADS"] = str(max(1, int(given) // config.ranks))
    try:
        if config.distributed == "ray":
            assert config.run_dir is not None
            parts = config.trainer.gradient_accumulation_steps
            asked = _Asked("ray", config.ranks, parts, config.max_failures, config.run_dir, config)
            return _on_ray(argv, asked, config.run_dir)
        return _as_processes(argv, config.ranks)
    finally:
        if given:
            os.environ["MINITRAIN_NUM_THREADS"] = given


def is_a_rank() -> bool:
    """Whether this process was started as one of several."""
    return seat(os.environ) is not None


@contextlib.contextmanager
def ranks_of_this_process() -> Iterator[Group | None]:
    """The group that this process belongs to, if any. Only rank 0 prints; an error on one rank ends all."""
    if not is_a_rank():
        yield None
        return
    group: Group | None = None
    try:
        with contextlib.ExitStack() as stack:
            group = stack.enter_context(joined())
            if group is not None and not group.is_main:
                stack.enter_context(_silence())
            yield group
    except BaseException as error:
        _, code = describe(error)
        if isinstance(error, PeerLost):
            wait_for_the_end_by_mpi()
        end_all_of_mpi(code)
        if group is not None and not group.is_main and _is_told_elsewhere(error):
            raise SilentExit(code) from error
        raise


def _as_processes(argv: Sequence[str], ranks: int) -> int:
    from ...distributed.launch.processes import run_processes

    return run_processes([sys.executable, "-m", "minitrain", "train", *argv], ranks)


def _on_ray(argv: Sequence[str], asked: _Asked, folder: str) -> int:
    from ...distributed.launch.ray_train import RayJob, run_on_ray
    from ...folder.names import CONFIG

    place = os.path.abspath(folder)
    return run_on_ray(RayJob(_main, tuple(argv), asked.ranks, asked.micro_batches, place, CONFIG, asked.max_failures))


def _main(argv: list[str]) -> int:
    """The command line, for a worker that imports this module."""
    from ..entry import main

    return main(argv)


class _Asked(NamedTuple):
    """The ranks that the settings of a run ask for."""

    engine: str | None
    ranks: int
    micro_batches: int
    max_failures: int
    folder: str | None
    config: RunConfig | None


def _asked_for(arguments: argparse.Namespace) -> _Asked:
    """The settings of a run, new or old, about its ranks."""
    if arguments.resume is None:
        from ..compose import compose_config

        config = compose_config(arguments.settings)
        parts = config.trainer.gradient_accumulation_steps
        return _Asked(config.distributed, config.ranks, parts, config.max_failures, config.run_dir, config)
    from ...folder.names import CONFIG
    from ...runs.config import read_yaml
    from ..compose import read_changes

    path = Path(arguments.resume) / CONFIG
    values = (dict(read_yaml(path)) if path.is_file() else {}) | read_changes(arguments.settings)
    trainer = values.get("trainer")
    parts = trainer.get("gradient_accumulation_steps", 1) if isinstance(trainer, dict) else 1
    numbers = [values.get("ranks", 1), parts, values.get("max_failures", 0)]
    ranks, parts, failures = (number if isinstance(number, int) else 0 for number in numbers)
    engine = values.get("distributed") if ranks > 0 and parts > 0 else None
    # What is wrong with them is said by the process that reads them as settings.
    return _Asked(engine if engine in ("processes", "ray") else None, ranks, parts, failures, arguments.resume, None)


def _is_told_elsewhere(error: BaseException) -> bool:
    """Whether rank 0 tells of an error: of those that were foreseen it knows, and its own it prints itself."""
    lost_main = isinstance(error, PeerLost) and "rank 0" in str(error) and "failed" not in str(error)
    return isinstance(error, MinitrainError) and not lost_main


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence this process; its errors are still printed."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        from .. import failures

        before, failures.quiet = failures.quiet, True
        try:
            yield
        finally:
            failures.quiet = before
