"""The jobs of a sweep: every combination of the values given, each composed and checked before the first begins."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ...errors import ConfigError
from ..config import RunConfig
from .jobs import MOST_JOBS
from .names import job_name

Compose = Callable[[Sequence[str]], RunConfig]
"""Settings of a run from ``key=value`` arguments."""


class Values(NamedTuple):
    """The values of one setting, as they are written in an argument; most settings have one."""

    key: str
    texts: tuple[str, ...]


def plan_jobs(folder: Path, choices: Sequence[Values], compose: Compose) -> dict[str, RunConfig]:
    """The settings of all jobs by their names, in the order in which they run: the last setting varies fastest.

    Args:
        folder: of the sweep.
        choices: the values of each setting.
        compose: makes the settings of a job.

    Raises:
        ConfigError: if there are too many jobs, the settings of one are wrong, two have the same, or Ray is missing.
        DataError: if the data of one is not there.
    """
    count = math.prod(len(values.texts) for values in choices)
    if count > MOST_JOBS:
        raise ConfigError(f"a sweep has at most {MOST_JOBS:,} runs, and this has {count:,}: give fewer values")
    jobs: dict[str, RunConfig] = {}
    for number, chosen in enumerate(itertools.product(*(values.texts for values in choices))):
        given = [(values.key, text) for values, text in zip(choices, chosen, strict=True)]
        set_apart = [pair for pair, values in zip(given, choices, strict=True) if len(values.texts) > 1]
        name = job_name(number, len(str(count - 1)), set_apart)
        jobs[name] = compose_job(folder / name, [f"{key}={text}" for key, text in given], compose)
    _refuse_equal(jobs)
    check_surroundings(jobs.values())
    return jobs


def compose_job(folder: Path, arguments: Sequence[str], compose: Compose) -> RunConfig:
    """The settings of one job, whose run folder is ``folder``."""
    return replace(compose(arguments), run_dir=str(folder))


def check_surroundings(configs: Iterable[RunConfig]) -> None:
    """Check that the data of all jobs is there, each kind once, and what starts their ranks.

    Raises:
        ConfigError: if Ray is to start ranks and is not installed.
        DataError: if data is not there.
    """
    configs, seen = list(configs), []
    if any(config.distributed == "ray" for config in configs) and importlib.util.find_spec("ray") is None:
        raise ConfigError("distributed=ray needs the package ray, which is not installed: pip install 'minitrain[ray]'")
    for config in configs:
        if config.data not in seen:
            seen.append(config.data)
            config.the_task.check_data(config.data)


def _refuse_equal(jobs: dict[str, RunConfig]) -> None:
    """Two jobs of the same settings would be the same run twice."""
    by_settings: dict[str, str] = {}
    for name, config in jobs.items():
        settings = repr(replace(config, run_dir=None))
        if settings in by_settings:
            raise ConfigError(
                f"{by_settings[settings]} and {name} would be the same run: a value is given twice; leave it out once"
            )
        by_settings[settings] = name
