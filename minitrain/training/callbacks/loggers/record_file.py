"""The base of loggers into a file of the run folder: whose file it is, and where it goes on after a resume."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ....errors import CheckpointError
from ....files import FileError
from ....folder import RunFolder
from ....states import Whole, checked
from ...setup import RunContext, Setup, StepView
from ..base import Callback


class RecordFile(Protocol):
    """A file that records are appended to."""

    path: Path

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record."""

    def sync(self) -> Any:
        """Make all records durable; returns where the file ends."""

    def close(self) -> None:
        """Close the file."""


F = TypeVar("F", bound=RecordFile)
_NOT_BEGUN = {"begun": False}
"""State of a logger that has written nothing; ``{}`` is that of one in a checkpoint that knows nothing of it."""


class FileLogger(Callback, Generic[F]):
    """Writes what is logged to a file, in the run folder by default.

    Where the file ends is part of a checkpoint: a resumed run cuts off the records of steps that it will do again. The
    file is the run's own record, so a disk that refuses it stops the training, as it would stop a checkpoint.

    Args:
        path: the file; missing folders are made.
    """

    on_every_rank = False

    file_name: ClassVar[str]
    position_names: ClassVar[tuple[str, ...]]
    """what a position has in it, all of them counts"""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._file: F | None = None
        self._end: Mapping[str, Any] | None = None  # where the records go on, after a resume; {} for the beginning
        self._begun = False

    @abstractmethod
    def _open(self, path: Path) -> F:
        """Open the file to append to it."""

    @abstractmethod
    def _position(self, file: F) -> dict[str, Any]:
        """Where the file ends, all before it on disk; goes into checkpoints."""

    @abstractmethod
    def _truncate(self, file: F, end: Mapping[str, Any]) -> bool:
        """Cut the file to such a position; returns whether it reached so far."""

    def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
        """Open the file where this run goes on.

        Raises:
            CheckpointError: if the file has records of another run.
            FileError: if it cannot be written.
        """
        if self.path is None and run.folder is None:
            name = type(self).__name__
            raise CheckpointError(f"{name} has no file to write to: give it a path, or the trainer a run_dir")
        path = self.place(run.folder)
        if run.resumed and self._end is None and not self._begun:
            self._end = {}  # resumed before the first checkpoint
        if self._end is None and not self._begun and path.exists() and path.stat().st_size:
            raise CheckpointError(f"{path} holds the records of another run: resume that one, or choose another folder")
        self._file = self._open(path)
        self._cut(view)
        self._begun = True

    def place(self, folder: Path | None) -> Path:
        """The file: its own path, or the usual one in a run folder."""
        return self.path or RunFolder(str(folder)).file(self.file_name)

    def on_load(self, view: StepView) -> None:
        """A rollback: the records of the steps to be done again go."""
        if self._file is not None:
            self._cut(view)

    def on_log(self, view: StepView, record: dict[str, Any]) -> None:
        """Write a record."""
        if self._file is not None:
            self._file.write(record)

    def on_evaluate(self, view: StepView, metrics: dict[str, Any]) -> None:
        """Write an evaluation."""
        if self._file is not None:
            self._file.write(metrics)

    def on_train_end(self, view: StepView) -> None:
        """Make the records durable."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            try:
                with contextlib.suppress(FileError):  # what does not reach the disk is not known of
                    self._end = self._position(self._file)
            finally:
                self._file.close()
                self._file = None

    def state_dict(self) -> dict[str, Any]:
        """Where the file ends, all of it on disk."""
        if self._file is not None:
            return self._position(self._file)
        return _NOT_BEGUN if self._end is None else dict(self._end)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Where to cut the file."""
        if state not in ({}, _NOT_BEGUN):
            state = checked(type(self).__name__, state, dict.fromkeys(self.position_names, Whole()))
        self._end = None if state == _NOT_BEGUN else state

    def _cut(self, view: StepView) -> None:
        assert self._file is not None
        if self._end is not None and not self._truncate(self._file, self._end):
            view.warn(f"{self._file.path} lacks records from before step {view.step}; training goes on")
        self._end = None
