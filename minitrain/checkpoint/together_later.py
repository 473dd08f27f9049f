"""Writes checkpoints of several ranks while training goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..distributed.group import Group
from .background import AsyncWriter, StateCopy
from .format import Contents
from .manifest import Location
from .store import CheckpointStore, Warn
from .together import Outcome, SaveTogether


class Pending(NamedTuple):
    """A checkpoint that is being written.

    Attributes:
        saving: it.
        then: what all ranks do with the results of all ranks, as soon as each has finished its part.
    """

    saving: SaveTogether
    then: Callable[[list[Any]], None]


class SaveTogetherLater:
    """Writes checkpoints of several ranks while training goes on.

    A step waits only for a copy of this rank's shard. A thread of each rank writes it. When all have, which the ranks
    tell each other between steps, a thread of rank 0 makes a checkpoint of the shards. All ranks make the same calls.
    """

    def __init__(self) -> None:
        self._writer, self._copy = AsyncWriter(), StateCopy()
        self._outcome: Outcome  # of the work that this rank finished last; a checkpoint begins with some on each rank
        self._pending: Pending | None = None

    def start(
        self, store: CheckpointStore, contents: Contents, group: Group, done: Callable[[Location, list[str]], object]
    ) -> Location:
        """Begin a checkpoint; the one before must be finished.

        Args:
            store: where it goes.
            contents: of this rank.
            group: the ranks.
            done: called by `poll` or `finish` on all ranks when the checkpoint is durable, with its place and warnings.

        Returns:
            Where it will be.

        Raises:
            FileError: on all ranks, if it does not fit.
            CheckpointError: if an intact checkpoint of that name exists.
        """
        saving = store.begin_together(contents, group)
        numbers = {**contents.optimizer, "moments": {}}
        rest = contents if group.is_main else Contents(contents.step, {}, {}, {})
        copy = self._copy.of(rest._replace(model=saving.shard(contents), optimizer=numbers))

        def commit(shards: list[Any]) -> None:
            self._pending = Pending(saving, committed)
            if group.is_main:
                self._begin(saving, lambda: self._commit(store, saving, copy, shards))

        def committed(told: list[Any]) -> None:
            done(saving.path, told[0])

        self._pending = Pending(saving, commit)
        self._begin(saving, lambda: saving.write(dict(copy.model)))
        return saving.path

    def poll(self) -> None:
        """Go on if all ranks have come so far, or raise the error of one on all."""
        if self._pending is not None and not any(self._pending.saving.group.gather(self._writer.is_running)):
            self._advance(self._pending)

    def finish(self) -> None:
        """Wait for the checkpoint that is being written."""
        while self._pending is not None:
            self._advance(self._pending)

    def abandon(self) -> None:
        """Wait for what this rank is writing, and for no other rank: one of them may be gone."""
        self._writer.finish()
        self._pending = None

    def _advance(self, pending: Pending) -> None:
        self._writer.finish()
        self._pending = None  # should a rank have failed, nothing is left to do
        pending.then(pending.saving.agreed(self._outcome))

    def _begin(self, saving: SaveTogether, work: Callable[[], Any]) -> None:
        def done(outcome: Outcome) -> None:
            self._outcome = outcome

        self._writer.start(lambda: saving.attempt(work), done)

    @staticmethod
    def _commit(store: CheckpointStore, saving: SaveTogether, contents: Contents, shards: list[Any]) -> list[str]:
        told: list[str] = []
        warn: Warn = told.append
        saving.finish(contents, shards)
        store.clear_up(contents.step, warn)
        return told
