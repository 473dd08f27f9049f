"""The checkpoints of a run: saved so that nothing is lost whatever happens, the newest intact one found again."""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..backend.arrays import Array
from ..errors import CheckpointError
from ..files import file_error, fsync_directory, make_folder
from .checkpoint import (
    Checkpoint,
    checkpoint_name,
    read_checkpoint,
    step_of,
    verify_checkpoint,
    write_checkpoint,
)

Warn = Callable[[str], object]


def warn_user(message: str) -> None:
    """Issue a Python warning: what is told about checkpoints unless somebody else wants to tell it."""
    warnings.warn(message, stacklevel=3)


class CheckpointManager:
    """Saves, finds and clears up the checkpoints in one folder.

    A checkpoint is built under a hidden temporary name, fsynced, renamed, and read back. Only then do old ones go.
    A folder is either a complete checkpoint or it is not called one, whenever the process is killed.

    Args:
        directory: the folder; made at the first save.
        keep: how many of the newest checkpoints to keep.
        warn: called with a sentence when something is not as it should be but training can go on.
    """

    def __init__(self, directory: str | Path, *, keep: int = 3, warn: Warn = warn_user) -> None:
        self.directory, self.keep, self.warn = Path(directory), keep, warn

    def save(
        self,
        step: int,
        model_state: Mapping[str, Array],
        optimizer_state: Mapping[str, Any],
        state: Mapping[str, Any],
    ) -> Path:
        """Save the checkpoint of ``step``, check it, and delete those that are too many.

        Args:
            step: number of updates done.
            model_state: ``model.state_dict()``.
            optimizer_state: ``optimizer.state_dict()``.
            state: everything else, plain values.

        Returns:
            Its folder, named by the step.

        Raises:
            FileError: if the disk refuses; older checkpoints are untouched.
            CheckpointError: if an intact checkpoint of this step exists, or the new one does not read back.
        """
        path = self.save_as(self.directory / checkpoint_name(step), step, model_state, optimizer_state, state)
        self._clear_up(step)
        return path

    def save_as(
        self,
        path: str | Path,
        step: int,
        model_state: Mapping[str, Array],
        optimizer_state: Mapping[str, Any],
        state: Mapping[str, Any],
    ) -> Path:
        """Save a checkpoint under a name of your own in this folder, check it, and delete nothing.

        Raises:
            FileError: if the disk refuses.
            CheckpointError: if an intact checkpoint is there, or the new one does not read back.
        """
        path = Path(path)
        if path.exists() and _problem(path) is None:
            raise CheckpointError(f"{path} exists and is intact; it is not overwritten")
        make_folder(self.directory)
        temporary = self._temporary(path)
        try:
            temporary.mkdir()
            write_checkpoint(temporary, step, model_state, optimizer_state, state)
            if path.exists():  # a damaged one: out of the way, now that its successor is complete
                os.rename(path, self._temporary(path))
            os.rename(temporary, path)
            fsync_directory(self.directory)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError):
                cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
                raise file_error("save the checkpoint", path, cause) from error
            raise
        verify_checkpoint(path)
        return path

    def load(self, path: str | Path) -> Checkpoint:
        """Verify and read the checkpoint at ``path``.

        Raises:
            CheckpointError: if it is damaged, incomplete, or of a format this version cannot read.
        """
        return read_checkpoint(path)

    def checkpoints(self) -> list[Path]:
        """The folders that are called checkpoints, oldest first; they may be damaged."""
        try:
            found = [path for path in self.directory.iterdir() if step_of(path) is not None and path.is_dir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise file_error("read the folder", self.directory, error) from error
        return sorted(found, key=lambda path: step_of(path) or 0)

    def latest(self, warn: Warn | None = None) -> Path | None:
        """The newest checkpoint that is intact; damaged ones are skipped, and ``warn`` is told of each.

        Args:
            warn: called with a sentence for each damaged checkpoint; by default the manager's.

        Returns:
            Its folder, or ``None`` if there is none.
        """
        for path in reversed(self.checkpoints()):
            problem = _problem(path)
            if problem is None:
                return path
            (warn or self.warn)(f"skipping a damaged checkpoint: {problem}")
        return None

    def _clear_up(self, newest: int) -> None:
        """Delete all but the ``keep`` newest checkpoints up to step ``newest``, and what a killed process left.

        Later ones stay: if there are any, they are damaged, and so do not count.
        """
        try:
            own = [path for path in self.checkpoints() if (step_of(path) or 0) <= newest]
            for path in own[: -self.keep]:  # hidden in one go: a half-deleted folder is not called a checkpoint
                os.rename(path, self._temporary(path))
            for path in self.directory.glob(".step-*.tmp"):
                shutil.rmtree(path)
        except OSError as error:
            problem = file_error("delete old checkpoints in", self.directory, error)
            self.warn(f"{problem}; training goes on")

    def _temporary(self, path: Path) -> Path:
        return self.directory / f".{path.name}.{secrets.token_hex(6)}.tmp"


def _problem(path: Path) -> str | None:
    """What is wrong with the checkpoint at ``path``, if anything."""
    try:
        verify_checkpoint(path)
    except CheckpointError as error:
        return str(error)
    return None
