"""The jobs of a sweep, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from .stop import StopFile

State = Literal["finished", "failed", "interrupted", "waiting"]
MOST_JOBS = 10_000
"""of a sweep"""
LOG = "log.txt"
"""The file of a job's folder that takes its output, unless it runs in the process of the sweep."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    It can be pickled: an engine may send it to another machine, which has to see the same files.

    Attributes:
        name: of the job, and of its folder.
        folder: the run folder.
        command: the program that does it, and its arguments.
        stop: the file that tells it to stop, see `StopFile`.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    stop: StopFile

    @property
    def log(self) -> Path:
        """The file for what it prints."""
        return self.folder / LOG


@dataclass(frozen=True)
class Outcome:
    """The result of a job.

    Attributes:
        name: of the job.
        state: ``finished``; ``failed``; ``interrupted``, with everything saved; ``waiting``, if it did not begin.
        message: why it failed.
        seconds: how long it took.
    """

    name: str
    state: State
    message: str = ""
    seconds: float = 0.0


class Work(NamedTuple):
    """The arguments of a launcher beside the jobs.

    Attributes:
        train: does a job in this process and says what came of it; what it prints goes to the screen.
        begun: to be called when a job begins, from any thread, with what to say of it; nothing if its output is on
            the screen.
        stop: asks all jobs to stop.
    """

    train: Callable[[Job], Outcome]
    begun: Callable[[Job, str], None]
    stop: StopFile


class Launcher(Protocol):
    """Runs jobs with some engine. The arguments of a launcher's constructor are its settings."""

    @property
    def at_once(self) -> int | None:
        """How many jobs run side by side; ``None`` if the engine decides."""

    def run(self, jobs: Sequence[Job], work: Work) -> Iterator[Outcome]:
        """Do the jobs; yield an outcome for each, in the order in which they end.

        A job that fails is an outcome, not an exception. Once ``work.stop`` is asked for, no job begins, and those
        that run are ``interrupted``. SIGINT and SIGTERM ask for it.

        Raises:
            ConfigError: if the engine refuses its settings.
        """
