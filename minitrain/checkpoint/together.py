"""Saving on several ranks: each writes its shard, and rank 0 the manifest, which makes a checkpoint of them.

Nothing is a checkpoint until all shards are there, see `minitrain.checkpoint.local.Assembly`. So a rank may die at any
moment: either all of the checkpoint is there, or none. What fails on one rank, a full disk for example, is an error on
all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..distributed.group import Group
from ..errors import MinitrainError
from ..files import FileError, file_error
from .format import Contents
from .local import Assembly
from .manifest import Entry, Location, shard_name
from .shards import shard_of


class Outcome(NamedTuple):
    """The result of one rank's work, which JSON can hold, or its error."""

    result: Any
    error: MinitrainError | None


class SaveTogether:
    """A checkpoint that several ranks write at once; all make the same calls.

    Args:
        assembly: where it is put together.
        path: where it will be, for messages.
        group: the ranks.
    """

    def __init__(self, assembly: Assembly, path: Location, group: Group) -> None:
        self.assembly, self.path, self.group = assembly, path, group
        self.place = ""  # on rank 0 until it is a checkpoint
        self.file = shard_name(group.rank, group.size)

    def save(self, contents: Contents) -> None:
        """Write all of it.

        Args:
            contents: of this rank; beside weights and moments those of rank 0 are saved.

        Raises:
            FileError: on all ranks, if it does not fit or cannot be written on one; nothing is left of it then.
            CheckpointError: if it does not read back.
        """
        self.begin(contents)
        shard = self.shard(contents)
        self.commit(contents, self.agreed(self.attempt(lambda: self.write(shard))))

    def begin(self, contents: Contents) -> None:
        """Make sure that it fits, and agree where the shards go."""
        self.place = self.on_main(lambda: self.assembly.begin(contents))

    def shard(self, contents: Contents) -> dict[str, Any]:
        """The shard that this rank writes."""
        arrays = {"model": contents.model, "optimizer": contents.optimizer["moments"]}
        return shard_of(arrays, self.group.rank, self.group.size)

    def write(self, shard: dict[str, Any]) -> list[Any]:
        """Write this rank's shard; its entry in the manifest. Needs no other rank."""
        return [self.file, *self.assembly.write_shard(self.place, self.file, shard)]

    def commit(self, contents: Contents, shards: list[list[Any]]) -> None:
        """Make a checkpoint of the shards."""
        self.on_main(lambda: self.finish(contents, shards))

    def finish(self, contents: Contents, shards: list[list[Any]]) -> None:
        """Write what is left to do for rank 0. Needs no other rank."""
        entries = {str(file): Entry(int(size), str(sha256)) for file, size, sha256 in shards}
        self.assembly.commit(self.place, contents, entries)
        self.place = ""  # whatever happens to other ranks now, this checkpoint stays

    def attempt(self, work: Callable[[], Any]) -> Outcome:
        """Do some work of one rank, and keep its error for `agreed`."""
        try:
            return Outcome(work(), None)
        except MinitrainError as error:
            return Outcome(None, error)
        except OSError as problem:
            told = file_error("save the checkpoint", self.path, problem)
            told.__cause__ = problem
            return Outcome(None, told)

    def agreed(self, outcome: Outcome) -> list[Any]:
        """The results of all ranks.

        Raises:
            MinitrainError: on all ranks, the error of one; nothing is left of the checkpoint then.
        """
        try:
            every = self.group.gather([outcome.result, None if outcome.error is None else str(outcome.error)])
            if outcome.error is not None:
                raise outcome.error
            for rank, (_, message) in enumerate(every):
                if message is not None:
                    raise FileError(f"rank {rank}: {message}")
        except BaseException:
            if self.place and self.group.is_main:
                self.assembly.abandon(self.place)
            raise
        return [found for found, _ in every]

    def on_main(self, work: Callable[[], Any]) -> Any:
        """The result of ``work`` on rank 0, on all ranks."""
        return self.agreed(self.attempt(work) if self.group.is_main else Outcome(None, None))[0]
