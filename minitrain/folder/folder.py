"""`RunFolder`: the one door to the files of a run."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import (
    FileError,
    checked_path,
    file_error,
    make_folder,
    make_room,
    open_regular,
    parse_json,
    read_file,
    write_atomically,
)
from .lock import FolderInUse, WriterLock
from .names import CHECKPOINTS, CONFIG, LARGEST, METRICS
from .safe import inside

_LARGEST = 1 << 40  # of a file whose kind has no limit


class RunFolder:
    """A run's folder: every file in it is opened through this class.

    Files and folders below it are regular and reached without links, or an error says which is not. Making the object
    touches nothing.

    Args:
        path: the folder; it may itself be a link.
        trusted: whether the settings of this folder may name places outside of it. Only the person at the command
            line, or the author of a script, can say so.
    """

    def __init__(self, path: str | os.PathLike[str], *, trusted: bool = False) -> None:
        self.path, self.trusted = checked_path(path), trusted
        self._lock, self._depth = WriterLock(self.path), 0
        self._seen: tuple[Any, ...] | None = None  # what the folder held when it was read

    def file(self, name: str | os.PathLike[str]) -> Path:
        """The path of a file or folder in the run folder, for whoever opens it by path.

        Raises:
            FileError: if ``name`` leads out of the folder or through a link, or is a FIFO, a device or a socket.
        """
        return inside(self.path, name)

    def place(self, path: str | os.PathLike[str]) -> Path:
        """Where a path from the settings leads: inside the folder, unless the folder is trusted.

        Raises:
            FileError: if it leads out of a folder that is not trusted.
        """
        given = checked_path(path)
        if self.trusted and not Path(os.path.abspath(self.path / given)).is_relative_to(os.path.abspath(self.path)):
            return self.path / given
        return inside(self.path, given)

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder of that name."""
        return self.file(name).exists()

    def make(self, name: str = "") -> Path:
        """Make a sub-folder, or the run folder itself, unless it is there; returns its path."""
        return make_folder(self.file(name) if name else self.path)

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of a file.

        Args:
            name: of the file.
            limit: more bytes than it can have; by default what `names` has for it.

        Raises:
            FileError: if it is missing, no regular file, or larger.
        """
        path = self.file(name)
        try:
            return read_file(path, LARGEST.get(name, _LARGEST) if limit is None else limit, links=False)
        except FileError:
            raise
        except OSError as error:
            raise file_error("read", path, error) from error

    def read_json(self, name: str, *, containers: int = 100_000) -> Any:
        """Parse a JSON file; see `files.parse_json`.

        Raises:
            FileError: if it is missing, no regular file, or too large.
            ValueError: if it is not such JSON.
        """
        return parse_json(self.read(name), containers=containers)

    def write(self, name: str, data: bytes) -> Path:
        """Write a file, whole or not at all; returns its path."""
        path = self.file(name)
        write_atomically(path, data)
        return path

    def refuse_if_in_use(self) -> None:
        """Make sure, for an early answer, that nobody writes into the folder now.

        Raises:
            FolderInUse: if somebody does.
        """
        with self.writing():
            pass

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one writer of the folder while the block lasts; may be entered again inside.

        The folder is made if it is not there.

        Raises:
            FolderInUse: if somebody else writes into it, or did since `watch`; nothing was touched then.
        """
        if not self._depth:
            self.make()
            self._lock.take()
        self._depth += 1
        try:
            if self._depth == 1:
                self._require_unchanged()
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._lock.give_back()

    def watch(self) -> None:
        """Remember what the folder holds: if somebody else changes that, the next `writing` is refused."""
        self._seen = self._mark()

    def _mark(self) -> tuple[Any, ...]:
        """The state that changes if a run goes on: settings, length of the metrics, names of the checkpoints."""
        marks: list[Any] = []
        for name in (CONFIG, METRICS):
            try:
                found = os.lstat(self.path / name)
                marks.append((found.st_ino, found.st_size, found.st_mtime_ns))
            except OSError:
                marks.append(None)
        try:
            marks.append(tuple(sorted(one for one in os.listdir(self.path / CHECKPOINTS) if not one.startswith("."))))
        except OSError:
            marks.append(())
        return tuple(marks)

    def _require_unchanged(self) -> None:
        """Raise a ``FolderInUse`` if somebody wrote into the folder since `watch`; the lock must be held."""
        if self._seen is not None and self._mark() != self._seen:
            raise FolderInUse(
                f"another process wrote into {self.path} since this one read it: resume the run again, from where it "
                "is now"
            )
        self._seen = None  # what changes from here on is of this process


def open_to_append(path: str | os.PathLike[str]) -> io.FileIO:
    """Open a regular file to append to it, or make it, and its folder; unbuffered.

    Raises:
        FileError: if it is a link or no regular file, has a second name (a hard link, through which a file elsewhere
            would be changed), or cannot be opened.
    """
    path = make_room(path)
    try:
        file = open_regular(path, links=False, flags=os.O_RDWR | os.O_APPEND | os.O_CREAT)
    except FileError:
        raise
    except OSError as error:
        raise file_error("write", path, error) from error
    if os.fstat(file.fileno()).st_nlink > 1:
        file.close()
        raise FileError(f"cannot write {os.fspath(path)}: it is a hard link to a file elsewhere; put a copy there")
    return file


def new_run_folder(parent: str | os.PathLike[str], name: str, *, trusted: bool = False) -> RunFolder:
    """Make a new folder ``parent/name``, or ``name-2``, ``name-3`` and so on: two runs never get the same one.

    Raises:
        FileError: if it cannot be made.
    """
    parent = make_folder(parent)
    for count in itertools.count(1):
        path = checked_path(parent / (name if count == 1 else f"{name}-{count}"))
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise file_error("create the folder", path, error) from error
        return RunFolder(path, trusted=trusted)
    raise AssertionError("there are always more numbers")
