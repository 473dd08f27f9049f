"""What launchers share: whether an engine is there, and how many threads a job gets."""

from __future__ import annotations

import importlib
from typing import Any

from ...backend.threads import thread_count
from ...errors import ConfigError


def engine(package: str, extra: str, what: str) -> Any:
    """The module ``package``.

    Raises:
        ConfigError: if it is not installed; says what to install for ``what``.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ConfigError(
            f"{what} needs the package {package}, which is not installed: pip install 'minitrain[{extra}]'"
        ) from error


def check_count(name: str, value: int | None, low: int = 1) -> None:
    """Check a setting that counts something.

    Raises:
        ConfigError: if it is less than ``low``.
    """
    if value is not None and value < low:
        raise ConfigError(f"{name} must be at least {low}, got {value}")


def threads_each(jobs: int) -> int:
    """Threads for each of ``jobs`` jobs that share this machine: its cores are divided among them."""
    return max(1, thread_count() // jobs)


def threads_variable(count: int) -> dict[str, str]:
    """What tells a job its number of threads."""
    return {"MINITRAIN_NUM_THREADS": str(count)}
