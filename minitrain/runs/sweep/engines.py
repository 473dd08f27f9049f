"""Common parts of launchers: whether an engine is there, and how many threads a job gets."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

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


class SharedCores:
    """A launcher whose jobs share the cores of this machine.

    Args:
        jobs: how many run at a time; they share the cores.

    Attributes:
        needs: the package, the extra that installs it, and what needs it.

    Raises:
        ConfigError: if the package is not installed, or ``jobs`` is less than 1.
    """

    needs: ClassVar[tuple[str, str, str]]

    def __init__(self, jobs: int = 2) -> None:
        check_count("launcher.jobs", jobs)
        self.at_once = jobs
        self.engine = engine(*self.needs)


def threads_each(jobs: int) -> int:
    """Threads for each of ``jobs`` jobs that share this machine: its cores are divided among them."""
    return max(1, thread_count() // jobs)


def threads_variable(count: int) -> dict[str, str]:
    """The environment that tells a job its number of threads."""
    return {"MINITRAIN_NUM_THREADS": str(count)}
