"""Every record and every evaluation as a line of JSON in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError
from ..callback import Callback
from ..metrics import METRICS, MetricsWriter

if TYPE_CHECKING:
    from ..trainer import Trainer


class JsonlLogger(Callback):
    """Writes what is logged to a JSONL file, ``metrics.jsonl`` in the run folder by default.

    The length of the file is part of a checkpoint: a resumed run cuts off the records of steps that it will do again.

    Args:
        path: the file; its folder must exist.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._writer: MetricsWriter | None = None
        self._offset: int | None = None  # where the records go on, after a resume
        self._begun = False

    def on_train_begin(self, trainer: Trainer) -> None:
        """Open the file where this run goes on.

        Raises:
            CheckpointError: if the file has records of another run.
            FileError: if it cannot be written.
        """
        if self.path is None and trainer.run_dir is None:
            raise CheckpointError("JsonlLogger has no file to write to: give it a path, or the trainer a run_dir")
        path = self.path or Path(str(trainer.run_dir)) / METRICS
        if trainer.resumed and self._offset is None and not self._begun:
            self._offset = 0  # resumed before the first checkpoint
        if self._offset is None and not self._begun and path.exists() and path.stat().st_size:
            raise CheckpointError(f"{path} holds the records of another run: resume that one, or choose another folder")
        self._writer = MetricsWriter(path)
        self._cut(trainer)
        self._begun = True

    def on_load(self, trainer: Trainer) -> None:
        """A rollback: the records of the steps to be done again go."""
        if self._writer is not None:
            self._cut(trainer)

    def on_log(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Write a record."""
        if self._writer is not None:
            self._writer.write(record)

    def on_evaluate(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        """Write an evaluation."""
        if self._writer is not None:
            self._writer.write(metrics)

    def on_train_end(self, trainer: Trainer) -> None:
        """Make the records durable."""
        if self._writer is not None:
            self._writer.sync()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._offset = self._writer.offset()
            self._writer.close()
            self._writer = None

    def state_dict(self) -> dict[str, Any]:
        """Length of the file in bytes, all of them on disk; ``None`` if nothing was written yet."""
        return {"offset": self._offset if self._writer is None else self._writer.sync()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The length to cut the file to."""
        offset = state.get("offset", 0)
        self._offset = None if offset is None else int(offset)

    def _cut(self, trainer: Trainer) -> None:
        assert self._writer is not None
        if self._offset is not None and not self._writer.truncate(self._offset):
            trainer.warn(f"{self._writer.path} lacks records from before step {trainer.state.step}; training goes on")
        self._offset = None
