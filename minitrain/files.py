"""Writing files so that a crash, a full disk or a second reader never sees half of one.

The recipe is the usual one: write under a temporary name in the same folder, fsync, rename over the target,
fsync the folder. A rename is atomic, so the path holds either the old bytes or all of the new ones.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

from .errors import MinitrainError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or write to another disk",
    errno.EDQUOT: "your disk quota is used up; free some space or write to another disk",
    errno.EFBIG: "the file is larger than this file system or your file size limit (ulimit -f) allows",
    errno.EROFS: "the file system is read-only; write to another folder",
    errno.EACCES: "permission denied; change the permissions of the folder or choose another path",
    errno.EPERM: "permission denied; change the permissions of the folder or choose another path",
    errno.ENOENT: "the folder does not exist; create it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EEXIST: "a file of that name is in the way; remove it or choose another path",
    errno.EISDIR: "a folder of that name is in the way; remove it or choose another path",
}


class Closing(ABC):
    """A base for what holds a file, a thread or a process: a ``with`` block closes it at its end, whatever happens."""

    @abstractmethod
    def close(self) -> None:
        """Give up what is held; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class FileError(MinitrainError, OSError):
    """A file or folder could not be written or read; the message names it, the reason, and what to change."""


def file_error(what: str, path: str | os.PathLike[str], error: OSError) -> FileError:
    """Put an ``OSError`` into words a user can act on.

    Args:
        what: what was tried, e.g. ``"write"``; the message begins ``cannot <what> <path>``.
        path: the file or folder the user knows about (not a temporary name).
        error: what the operating system said.
    """
    reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return FileError(f"cannot {what} {os.fspath(path)}: {reason}")


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open ``path`` for writing bytes; it appears, complete, when the ``with`` block ends without an error.

    If the block raises (Ctrl-C included) or the disk refuses, an older file at ``path`` stays as it was and
    the temporary file is removed. Only a process killed outright can leave one, ``.<name>.<random>.tmp``.

    Args:
        path: the file to create or replace; its folder must exist.

    Yields:
        A binary file to write to, and only that: an ``OSError`` in the block is taken for a failure to write.

    Raises:
        FileError: if the file cannot be written; says why and what to do about it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        fsync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, FileError):
            raise file_error("write", path, error) from error
        raise


def write_atomically(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write ``data`` to ``path`` durably: once it returns, the bytes survive a power cut.

    Raises:
        FileError: if the file cannot be written; an old one is untouched and no temporary file is left.
    """
    with open_atomically(path) as file:
        file.write(data)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder ``path`` with its parents, unless it is there, and return it.

    Raises:
        FileError: if it cannot be created; says why and what to do about it.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error("create the folder", path, error) from error
    return path


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Make the names in folder ``path`` (a rename, a new file) durable.

    Windows has no such call; there it does nothing.

    Raises:
        FileError: if the folder is missing or the disk refuses.
    """
    if os.name == "nt":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EINVAL:  # some network file systems cannot fsync a folder, and need not
            return
        raise file_error("write the folder", path, error) from error


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the bytes of file ``path``, as 64 hexadecimal digits; reads in pieces, so any size is fine.

    Raises:
        FileError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = "there is no such file" if error.errno == errno.ENOENT else error.strerror or str(error)
        raise FileError(f"cannot read {os.fspath(path)}: {reason}") from error
