"""When and how a trainer's state reaches its checkpoints: at once, or in the background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..checkpoint.background import AsyncWriter, StateCopy
from ..checkpoint.format import Checkpoint
from ..checkpoint.manifest import Location, checkpoint_name
from ..checkpoint.space import in_bytes, size_of
from ..checkpoint.store import CheckpointStore, split_location
from ..errors import CheckpointError, ConfigError
from .snapshot import contents_of

if TYPE_CHECKING:
    from .trainer import Trainer


class CheckpointSaver:
    """Saves the checkpoints of a trainer.

    In the background, a step waits for a copy of the state and nothing else; a thread writes the copy. One write is
    under way at most. What went wrong with it is raised at the next step, the next save or the end of training,
    and ``on_save`` is called there too: when the checkpoint is durable.

    Args:
        trainer: what is saved.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._writer, self._copy = AsyncWriter(), StateCopy()

    def save(self, path: Location | None = None) -> Location:
        """Save at ``path``, or in the trainer's store.

        Returns:
            Where the checkpoint is, or will be when `finish` returns.
        """
        trainer, store = self.trainer, self.trainer.checkpoints
        self.finish()
        contents = contents_of(trainer)
        if path is not None:
            parent, name = split_location(path)
            return self._saved(CheckpointStore(parent, warn=trainer.warn).save_as(name, contents))
        if store is None:
            raise ConfigError("the trainer has no run folder: give save_checkpoint a path, or the trainer a run_dir")
        if not trainer.config.async_checkpoints:
            return self._saved(store.save(contents))
        copy, told = self._copy.of(contents), list[str]()

        def done(location: Location) -> None:
            for message in told:  # warnings belong to the thread that trains
                trainer.warn(message)
            self._saved(location)

        self._writer.start(lambda: store.save(copy, warn=told.append), done)
        return store.folder.location(checkpoint_name(contents.step))

    def poll(self) -> None:
        """See whether a write in the background is finished; raise what went wrong with it."""
        self._writer.poll()

    def finish(self) -> None:
        """Wait for a write in the background; raise what went wrong with it."""
        self._writer.finish()

    def finish_last(self) -> None:
        """Wait for the last checkpoint, and save it if it is not there: an earlier attempt may have met a full disk."""
        self.finish()
        store, step = self.trainer.checkpoints, self.trainer.state.step
        if store is not None and step and not store.folder.exists(checkpoint_name(step)):
            self.trainer.save_checkpoint()
            self.finish()

    def finish_after(self, error: BaseException) -> None:
        """Wait for a write while ``error`` ends training; its own trouble is told, and does not hide ``error``."""
        try:
            self.finish()
        except Exception as problem:  # a bug there shall not hide the error either
            if problem is not error:
                self.trainer.warn(str(problem) or repr(problem))

    def is_among_best(self, measured: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with these figures would be kept as one of the best.

        Raises:
            ConfigError: if the figure that decides is not among them.
        """
        store = self.trainer.checkpoints
        if store is None or not store.keep_best:
            return False
        if store.metric not in measured:
            there = ", ".join(measured)
            raise ConfigError(f"best_metric={store.metric!r} is no figure of the evaluations; there are {there}")
        return store.is_among_best(float(measured[store.metric]))

    def load_latest(self) -> Checkpoint | None:
        """The newest intact checkpoint, or ``None``; waits for one that is being written."""
        self.finish()
        return None if self.trainer.checkpoints is None else self.trainer.checkpoints.load_latest()

    def warn_if_tight(self) -> None:
        """Tell if the checkpoints that are to be kept will not fit on the disk."""
        store = self.trainer.checkpoints
        free = None if store is None else store.folder.free_space()
        if store is None or free is None:
            return
        size, present = size_of(contents_of(self.trainer)), len(store.checkpoints())
        most = store.keep + store.keep_best + 1  # an old one goes only when the new one is there
        if (most - present) * size > free:
            self.trainer.warn(
                f"up to {most} checkpoints of {in_bytes(size)} may be in {store.directory} at a time, and "
                f"{in_bytes(free)} are free there: free some space, or lower trainer.keep_checkpoints"
            )

    def _saved(self, location: Location) -> Location:
        self.trainer.callbacks.fire("on_save", self.trainer, str(location))
        return location


def newest_or_error(store: CheckpointStore) -> Checkpoint | None:
    """The newest intact checkpoint, ``None`` if there is none at all.

    Raises:
        CheckpointError: if there are some, all damaged.
    """
    newest = store.load_latest()
    if newest is None and (damaged := store.checkpoints()):
        raise CheckpointError(
            f"none of the {len(damaged)} checkpoints in {store.directory} is intact; train anew with another run_dir"
        )
    return newest
