"""A folder of checkpoints on a local disk: each appears complete, in one moment, or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from ..backend.arrays import Array
from ..errors import CheckpointError
from ..files import FileError, file_error, fsync_directory, make_folder
from ..folder.safe import refuse_links
from .format import (
    Checkpoint,
    Contents,
    read_checkpoint,
    read_checkpoint_metrics,
    verify_checkpoint,
    write_checkpoint,
    write_file,
    write_rest,
)
from .manifest import Entry, Location, step_of
from .space import free_space, require_space, size_of
from .tensors import tensor_pieces

_LEFTOVER = re.compile(r"\..+\.tmp")


class Assembly(Protocol):
    """A checkpoint that several ranks write: it is none before rank 0 has written the manifest.

    Every method may raise a `FileError`, a `CheckpointError` or an `OSError`.
    """

    def begin(self, contents: Contents) -> str:
        """On rank 0, before the others: make sure that it fits, and return where the shards go."""
        ...

    def write_shard(self, place: str, file: str, shard: Mapping[str, Array]) -> Entry:
        """On every rank: write its shard there; its entry in the manifest."""
        ...

    def commit(self, place: str, contents: Contents, shards: Mapping[str, Entry]) -> None:
        """On rank 0, when all shards are there: write the rest, the manifest last, and verify."""
        ...

    def abandon(self, place: str) -> None:
        """On rank 0: delete what is there, as far as possible."""
        ...


class CheckpointFolder(Protocol):
    """The interface that a `CheckpointStore` needs of the place where checkpoints are. All names are folder names.

    Every method raises a `FileError` if the place refuses, and those that read a `CheckpointError` for damage.
    """

    def location(self, name: str = "") -> Location:
        """Where a checkpoint is, or the folder itself."""
        ...

    def make(self) -> None:
        """Make the folder, unless it is there."""
        ...

    def names(self) -> list[str]:
        """The checkpoints, damaged ones too, in any order."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is something under that name."""
        ...

    def write(self, name: str, contents: Contents) -> None:
        """Write a checkpoint, in place of a damaged one if there is one, and verify it."""
        ...

    def assembly(self, name: str) -> Assembly:
        """For several ranks that write a checkpoint, in place of a damaged one if there is one."""
        ...

    def verify(self, name: str) -> int:
        """Read all of a checkpoint, compare it with its manifest, and return its step."""
        ...

    def read(self, name: str) -> Checkpoint:
        """Verify and read a checkpoint."""
        ...

    def read_metrics(self, name: str) -> dict[str, float]:
        """The metrics of a checkpoint."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Delete checkpoints, and what a killed process left."""
        ...

    def free_space(self) -> int | None:
        """Free bytes, or ``None`` if nobody knows."""
        ...


class LocalFolder:
    """A `CheckpointFolder` on a local disk.

    A checkpoint is built under a hidden temporary name, fsynced, renamed, and read back.

    Args:
        path: the folder; made at the first save.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def location(self, name: str = "") -> Path:
        """Where a checkpoint is, or the folder itself."""
        return self.path / name

    def make(self) -> None:
        """Make the folder, unless it is there."""
        make_folder(self.path)

    def names(self) -> list[str]:
        """The checkpoints, damaged ones too, in any order."""
        try:
            # What is no folder but no file either, such as a FIFO or a broken link, counts as a damaged one.
            return [path.name for path in self.path.iterdir() if step_of(path) is not None and not path.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise file_error("read the folder", self.path, error) from error

    def exists(self, name: str) -> bool:
        """Whether there is something under that name."""
        return (self.path / name).exists()

    def write(self, name: str, contents: Contents) -> None:
        """Write a checkpoint, in place of a damaged one if there is one, and verify it.

        Raises:
            FileError: if it does not fit or cannot be written; nothing is left of it then.
            CheckpointError: if it does not read back.
        """
        path, temporary = self.path / name, self.temporary(name)
        require_space(f"the checkpoint {path}", size_of(contents), self.path)
        self.make()
        try:
            temporary.mkdir()
            write_checkpoint(temporary, contents)
            self.rename(temporary, name)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, OSError):
                cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
                raise file_error("save the checkpoint", path, cause) from error
            raise
        verify_checkpoint(path)

    def assembly(self, name: str) -> LocalAssembly:
        """For several ranks that see this folder."""
        return LocalAssembly(self, name)

    def rename(self, temporary: Path, name: str) -> None:
        """Give a complete checkpoint its name, durably."""
        if (self.path / name).exists():  # a damaged one: out of the way, now that its successor is complete
            os.rename(self.path / name, self.temporary(name))
        os.rename(temporary, self.path / name)
        fsync_directory(self.path)

    def verify(self, name: str) -> int:
        """Read all of a checkpoint, compare it with its manifest, and return its step."""
        return verify_checkpoint(self._own(name))

    def read(self, name: str) -> Checkpoint:
        """Verify and read a checkpoint."""
        return read_checkpoint(self._own(name))

    def read_metrics(self, name: str) -> dict[str, float]:
        """The metrics of a checkpoint."""
        return read_checkpoint_metrics(self._own(name))

    def remove(self, names: Iterable[str]) -> None:
        """Delete checkpoints, and what a killed process left.

        Raises:
            FileError: if the file cannot be written.
        """
        try:
            for name in names:  # hidden in one go: a half-deleted folder is not called a checkpoint
                os.rename(self.path / name, self.temporary(name))
            for path in self.path.iterdir():
                if not _LEFTOVER.fullmatch(path.name) or path.is_file():
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        except OSError as error:
            raise file_error("delete old checkpoints in", self.path, error) from error

    def free_space(self) -> int | None:
        """Free bytes, or ``None`` if the system does not say."""
        try:
            return free_space(self.path)
        except OSError:
            return None

    def _own(self, name: str) -> Path:
        """The folder of a checkpoint, unless a link stands in for it.

        Raises:
            CheckpointError: if one does.
        """
        try:
            refuse_links(self.path, name)
        except FileError as error:
            raise CheckpointError(str(error)) from error
        return self.path / name

    def temporary(self, name: str) -> Path:
        """A hidden name for what is to become a checkpoint, or was one."""
        return self.path / f".{name}.{secrets.token_hex(6)}.tmp"


class LocalAssembly:
    """An `Assembly` in a folder that all ranks see, which has a temporary name until it is complete.

    Args:
        folder: of the run.
        name: of the checkpoint.
    """

    def __init__(self, folder: LocalFolder, name: str) -> None:
        self._folder, self._name = folder, name

    def begin(self, contents: Contents) -> str:
        """See the base class."""
        folder, temporary = self._folder, self._folder.temporary(self._name)
        require_space(f"the checkpoint {folder.path / self._name}", size_of(contents), folder.path)
        folder.make()
        temporary.mkdir()
        return str(temporary)

    def write_shard(self, place: str, file: str, shard: Mapping[str, Array]) -> Entry:
        """See the base class."""
        return write_file(Path(place) / file, tensor_pieces(shard))

    def commit(self, place: str, contents: Contents, shards: Mapping[str, Entry]) -> None:
        """See the base class."""
        write_rest(Path(place), contents, shards)
        self._folder.rename(Path(place), self._name)
        verify_checkpoint(self._folder.path / self._name)

    def abandon(self, place: str) -> None:
        """See the base class."""
        shutil.rmtree(place, ignore_errors=True)
