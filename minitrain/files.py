"""Files that are written whole or not at all, and read only if they are regular files of a plausible size.

Writing uses the usual recipe: write under a temporary name in the same folder, fsync, rename over the target, fsync the
folder. A rename is atomic, so the path holds either the old bytes or all of the new ones.

Reading never waits and never fills the memory: a FIFO would block, ``/dev/zero`` never ends, and a file that is far
larger than its kind can be was not written by minitrain.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

from .errors import MinitrainError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or write to another disk",
    errno.EDQUOT: "your disk quota is used up; free some space or write to another disk",
    errno.EFBIG: "the file is larger than this file system or your file size limit (ulimit -f) allows",
    errno.EROFS: "the file system is read-only; write to another folder",
    errno.EACCES: "permission denied; change the permissions of the folder or choose another path",
    errno.EPERM: "permission denied; change the permissions of the folder or choose another path",
    errno.ENOENT: "the folder does not exist",
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
        error: the error of the operating system.
    """
    reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    if what == "read" and error.errno == errno.ENOENT:
        reason = "there is no such file; check the path"
    return FileError(f"cannot {what} {os.fspath(path)}: {reason}")


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open ``path`` for writing bytes; it appears, complete, when the ``with`` block ends without an error.

    If the block raises (Ctrl-C included) or writing fails, an older file at ``path`` stays as it was and
    the temporary file is removed. Only a process killed outright can leave one, ``.<name>.<random>.tmp``.

    Args:
        path: the file to create or replace; folders that are missing are made.

    Yields:
        A binary file to write to, and only that: an ``OSError`` in the block is taken for a failure to write.

    Raises:
        FileError: if the file cannot be written; says why and what to do about it.
    """
    path = make_room(path)
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


def make_room(path: str | os.PathLike[str]) -> Path:
    """Make the folder of a file that is to be written, unless it is there; returns the file's path.

    Everything that writes a file does this, so that no message says to create a folder.

    Raises:
        FileError: if it cannot be made.
    """
    path = checked_path(path)
    if not path.parent.is_dir():
        make_folder(path.parent)
    return path


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder ``path`` with its parents, unless it is there, and return it.

    Raises:
        FileError: if it cannot be created; says why and what to do about it.
    """
    path = checked_path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error("create the folder", path, error) from error
    return path


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Make the names in folder ``path`` (a rename, a new file) durable.

    Windows has no such call; there it does nothing.

    Raises:
        FileError: if the folder is missing or the file cannot be written.
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


def checked_path(path: str | os.PathLike[str]) -> Path:
    """``path`` as a `Path`.

    Raises:
        FileError: if a NUL character is in it, which no file system takes.
    """
    if "\0" in (text := os.fspath(path)):
        raise FileError(f"the path {text!r} has a NUL character in it; leave it out")
    return Path(path)


def open_regular(path: str | os.PathLike[str], *, links: bool = True, flags: int = os.O_RDONLY) -> io.FileIO:
    """Open a regular file, unbuffered, without ever waiting for it.

    Args:
        path: the file.
        links: whether ``path`` itself may be a symbolic link to the file. One to something that is no file never may.
        flags: as for ``os.open``; other flags than ``O_RDONLY`` open the file for writing bytes, too.

    Raises:
        OSError: if the system refuses.
        FileError: if it is a FIFO, a device, a folder, a socket or a forbidden link.
    """
    path = checked_path(path)
    extra = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    if not links:
        extra |= getattr(os, "O_NOFOLLOW", 0)
    with contextlib.suppress(FileNotFoundError):  # before it is opened: opening a device can do something already
        require_regular(path, (path.stat() if links else path.lstat()).st_mode)
    descriptor = os.open(path, flags | extra, 0o666)
    try:
        require_regular(path, os.fstat(descriptor).st_mode)
        return io.FileIO(descriptor, "r" if flags == os.O_RDONLY else "a+" if flags & os.O_APPEND else "r+")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(path: str | os.PathLike[str], mode: int) -> None:
    """Refuse what is no regular file.

    Args:
        path: its path, for the message.
        mode: its ``st_mode``.

    Raises:
        FileError: naming what it is instead.
    """
    if not stat.S_ISREG(mode):
        raise FileError(f"cannot use {os.fspath(path)}: it is {kind_of(mode)}, not a regular file; put a copy there")


def kind_of(mode: int) -> str:
    """The kind of file that an ``st_mode`` stands for, in words."""
    kinds = {
        stat.S_IFREG: "a regular file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")


def read_file(path: str | os.PathLike[str], limit: int, *, links: bool = True) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes.

    Args:
        path: the file.
        limit: more bytes than any file of its kind has.
        links: see `open_regular`.

    Raises:
        OSError: if the system refuses.
        FileError: if it is no regular file, or larger.
    """
    with open_regular(path, links=links) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise FileError(f"cannot use {os.fspath(path)}: it has {size:,} bytes, such a file at most {limit:,}")
        parts = []
        while size >= 0 and (part := file.read(size + 1)):  # one more than there are: what grows meanwhile is cut off
            parts.append(part)
            size -= len(part)
        return b"".join(parts)[:limit]


def parse_json(content: bytes, *, containers: int = 100_000) -> Any:
    """Parse JSON, in memory that its length explains.

    Args:
        content: the text, in UTF-8.
        containers: how many lists and objects may be in it: an empty one takes 3 bytes of text and 64 of memory.

    Raises:
        ValueError: if it is not JSON, a name stands in an object twice, or it has too many lists and objects, or too
            many inside each other.
    """
    if content.count(b"[") + content.count(b"{") > containers:
        raise ValueError(f"it has more than {containers:,} lists and objects")
    try:
        return json.loads(content, object_pairs_hook=_without_duplicates)
    except RecursionError as error:
        raise ValueError("its lists and objects are nested too deep") from error


def is_text(value: Any) -> bool:
    """Whether a value of JSON is a text that UTF-8 can express."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(members := dict(pairs)) != len(pairs):
        raise ValueError("a name stands in it twice")
    return members


def sha256_of(path: str | os.PathLike[str], *, links: bool = True) -> str:
    """SHA-256 of the bytes of file ``path``, as 64 hexadecimal digits; reads in pieces, so any size is fine.

    Raises:
        FileError: if the file cannot be read, or is no regular file.
    """
    try:
        with open_regular(path, links=links) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileError:
        raise
    except OSError as error:
        reason = "there is no such file" if error.errno == errno.ENOENT else error.strerror or str(error)
        raise FileError(f"cannot read {os.fspath(path)}: {reason}") from error
