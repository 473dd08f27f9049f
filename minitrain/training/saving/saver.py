"""When and how the state of a training reaches its checkpoints: at once, or in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...checkpoint.background import AsyncWriter, StateCopy
from ...checkpoint.format import Checkpoint, Contents
from ...checkpoint.manifest import Location, checkpoint_name
from ...checkpoint.space import size_of
from ...checkpoint.store import CheckpointStore, Warn, split_location, warn_user
from ...checkpoint.together_later import SaveTogetherLater
from ...distributed.group import Group
from ...distributed.pieces import Piece
from ...errors import CheckpointError, ConfigError
from ...formats import size as in_bytes


class CheckpointSaver:
    """Saves checkpoints.

    In the background, a step only waits for a copy of the state; a thread writes the copy. At most one write is
    under way. An error in it is raised at the next step, the next save or the end of training, and ``on_saved`` is
    called there too: when the checkpoint is durable. An error that ends training on several ranks leaves what is being
    written unfinished, if each writes a shard: the other ranks may be gone.

    Args:
        store: where the checkpoints go; ``None`` without a run folder.
        capture: returns what goes into a checkpoint.
        in_background: write while training goes on.
        on_saved: called with the place of each checkpoint once it is durable.
        warn: called with a sentence when something is wrong but training can go on.
        group: the ranks that save together, each a shard. In the background and at a path rank 0 writes all of the
            state, unless the ranks share the moments.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        capture: Callable[[], Contents],
        *,
        in_background: bool = False,
        on_saved: Callable[[str], object] = lambda place: None,
        warn: Warn = warn_user,
        group: Group | None = None,
    ) -> None:
        self.store, self.capture, self.in_background, self.group = store, capture, in_background, group
        self.on_saved, self.warn = on_saved, warn
        self._writer, self._copy, self._later = AsyncWriter(), StateCopy(), SaveTogetherLater()

    def save(self, path: Location | None = None) -> Location:
        """Save at ``path``, or in the store.

        Returns:
            Where the checkpoint is, or will be when `finish` returns.
        """
        self.finish()
        group, store = self.group, self.store
        if path is None and store is None:
            raise ConfigError("the trainer has no run folder: give save_checkpoint a path, or the trainer a run_dir")
        contents = self.capture()
        shares = any(isinstance(moment, Piece) for moment in contents.optimizer["moments"].values())
        if shares and (group is None or group.size == 1):
            raise ConfigError("the optimizer shares its moments with other ranks, which are not part of this training")
        if group is not None and not (shares or (group.size > 1 and path is None and not self.in_background)):
            group = None  # rank 0 writes all
            if not self._writes:
                return path or self._place(contents)
        if path is not None:
            parent, name = split_location(path)
            return self._saved(CheckpointStore(parent, warn=self.warn).save_as(name, contents, group))
        assert store is not None
        if not self.in_background:
            return self._saved(store.save(contents, group=group))
        if group is not None:
            return self._later.start(store, contents, group, self._told)
        copy, told = self._copy.of(contents), list[str]()
        self._writer.start(lambda: store.save(copy, warn=told.append), lambda location: self._told(location, told))
        return self._place(contents)

    def poll(self) -> None:
        """Deliver the result of a finished write in the background, or raise its error."""
        self._writer.poll()
        self._later.poll()

    def finish(self) -> None:
        """Wait for a write in the background; raise its error. All ranks make the same calls of this and of `poll`."""
        self._writer.finish()
        self._later.finish()

    def has(self, step: int) -> bool:
        """Whether the store has a checkpoint of ``step``."""
        has = self._writes and self.store is not None and self.store.folder.exists(checkpoint_name(step))
        return has if self.group is None else bool(self.group.from_main(has))

    def finish_after(self, error: BaseException) -> None:
        """Wait for a write while ``error`` ends training; an error of the write is told and does not hide ``error``."""
        try:
            self._later.abandon()
            self._writer.finish()
        except Exception as problem:  # a bug there shall not hide the error either
            if problem is not error:
                self.warn(str(problem) or repr(problem))

    def is_among_best(self, measured: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with these metrics would be kept as one of the best.

        Raises:
            ConfigError: if the metric that decides is not among them.
        """
        store = self.store
        if store is None or not store.keep_best or not self._writes:
            return False
        if store.metric not in measured:
            there = ", ".join(measured)
            raise ConfigError(f"best_metric={store.metric!r} is no metric of the evaluations; there are {there}")
        return store.is_among_best(float(measured[store.metric]))

    def load_newest(self) -> Checkpoint | None:
        """The newest intact checkpoint, read and verified in one go; ``None`` if there is none at all.

        Raises:
            CheckpointError: if there are some, all damaged.
        """
        self.finish()
        store, group = self.store, self.group
        if store is None:
            return None
        if group is not None and not group.is_main:
            name = group.from_main()
            return None if name is None else store.load(name)
        newest = store.load_latest(self.warn)
        if newest is None and (damaged := store.checkpoints()):
            raise CheckpointError(
                f"none of the {len(damaged)} checkpoints in {store.directory} is intact; "
                "train anew with another run_dir"
            )
        if group is not None:
            group.from_main(None if newest is None else split_location(newest.path)[1])
        return newest

    def newest_kept(self) -> Location | None:
        """The newest checkpoint by name, without looking into it."""
        kept = self.store.checkpoints() if self.store is not None else []
        return kept[-1] if kept else None

    def warn_if_tight(self) -> None:
        """Warn if the checkpoints that are to be kept will not fit on the disk."""
        store = self.store
        free = None if store is None else store.folder.free_space()
        if store is None or free is None or not self._writes:
            return
        size, present = size_of(self.capture()), len(store.checkpoints())
        most = store.keep + store.keep_best + 1  # an old one goes only when the new one is there
        if (most - present) * size > free:
            self.warn(
                f"up to {most} checkpoints of {in_bytes(size)} may be in {store.directory} at a time, and "
                f"{in_bytes(free)} are free there: free some space, or lower trainer.keep_checkpoints"
            )

    @property
    def _writes(self) -> bool:
        return self.group is None or self.group.is_main

    def _place(self, contents: Contents) -> Location:
        """Where a checkpoint will be."""
        assert self.store is not None
        return self.store.folder.location(checkpoint_name(contents.step))

    def _told(self, location: Location, told: list[str]) -> None:
        """A checkpoint is there; warnings belong to the thread that trains."""
        for message in told if self._writes else ():
            self.warn(message)
        self._saved(location)

    def _saved(self, location: Location) -> Location:
        self.on_saved(str(location))
        return location
