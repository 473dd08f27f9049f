"""Saving on several ranks: each writes its shard, and rank 0 the manifest, which makes a checkpoint of them.

The folder has a temporary name until all shards are on the disk. So a rank may die at any moment: either all of the
checkpoint is there, or none. What fails on one rank, a full disk for example, is an error on all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..distributed.group import Group
from ..errors import MinitrainError
from ..files import FileError, file_error, fsync_directory
from .format import Contents, verify_checkpoint, write_file, write_state
from .local import LocalFolder
from .manifest import EXTRA, MANIFEST, SHARDED, STATE, Entry, Manifest, shard_name
from .shards import shard_of
from .space import require_space, size_of
from .tensors import tensor_pieces


def save_together(folder: LocalFolder, name: str, contents: Contents, group: Group) -> None:
    """Write a checkpoint, each rank its shard, in place of a damaged one if there is one, and verify it.

    Args:
        folder: of the run; all ranks see the same.
        name: of the checkpoint.
        contents: of this rank; beside weights and moments those of rank 0 are saved.
        group: the ranks.

    Raises:
        FileError: on all ranks, if it does not fit or cannot be written on one; nothing is left of it then.
        CheckpointError: if it does not read back.
    """
    path, temporary = folder.path / name, folder.temporary(name)

    def begin() -> str:
        require_space(f"the checkpoint {path}", size_of(contents), folder.path)
        folder.make()
        temporary.mkdir()
        return str(temporary)

    def write() -> list[Any]:
        arrays = shard_of({"model": contents.model, "optimizer": contents.optimizer["moments"]}, group.rank, group.size)
        file = shard_name(group.rank, group.size)
        return [file, *write_file(Path(place) / file, tensor_pieces(arrays))]

    def commit() -> None:
        files = {str(file): Entry(int(size), str(sha256)) for file, size, sha256 in shards}
        files |= write_state(temporary, contents)
        ordered = {file: files[file] for file in (EXTRA, STATE, *sorted(files))}  # each once, where it is first
        write_file(temporary / MANIFEST, [Manifest(SHARDED, contents.step, ordered).to_json()])
        fsync_directory(temporary)
        if path.exists():  # a damaged one: out of the way, now that its successor is complete
            os.rename(path, folder.temporary(name))
        os.rename(temporary, path)
        fsync_directory(folder.path)
        verify_checkpoint(path)

    try:
        place = on_main(group, begin, path)
        shards = everywhere(group, write, path)
        on_main(group, commit, path)
    except BaseException:
        if group.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def everywhere(group: Group, work: Callable[[], Any], path: Path) -> list[Any]:
    """What ``work`` returns on all ranks; its error on one is raised on all.

    Args:
        group: the ranks.
        work: returns what JSON can hold.
        path: what is being written, for the message.
    """
    error: MinitrainError | None = None
    result = None
    try:
        result = work()
    except MinitrainError as problem:
        error = problem
    except OSError as problem:
        error = file_error("save the checkpoint", path, problem)
        error.__cause__ = problem
    every = group.gather([result, None if error is None else str(error)])
    if error is not None:
        raise error
    for rank, (_, message) in enumerate(every):
        if message is not None:
            raise FileError(f"rank {rank}: {message}")
    return [found for found, _ in every]


def on_main(group: Group, work: Callable[[], Any], path: Path) -> Any:
    """What ``work`` returns on rank 0, on all ranks; see `everywhere`."""
    return everywhere(group, work if group.is_main else lambda: None, path)[0]
