"""One writer per run folder: a lock that the kernel gives back when its process ends, however it ends.

Readers take no lock and are never refused. Network file systems and object stores may have no such locks; where the
system says so, the folder goes without.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import time
from pathlib import Path
from types import TracebackType

from ..errors import MinitrainError, printable
from ..files import file_error, open_regular
from .names import LARGEST, LOCK
from .safe import refuse_links

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)


class FolderInUse(MinitrainError):
    """Another process, or another trainer of this one, writes into the run folder."""


class WriterLock:
    """The right to write into a run folder, from `take` to `give_back`.

    The lock lies on a file in the folder, which says which process holds it and since when, and nothing of machines or
    users. The file stays, empty: to remove it would let two processes lock two files of one name.

    Args:
        folder: the run folder; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: io.FileIO | None = None

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._file is not None

    def take(self) -> None:
        """Take the lock; nothing in the folder is changed if somebody else has it.

        Raises:
            FolderInUse: if somebody else has it; says who, and what to do.
            FileError: if the file cannot be made.
        """
        if self._file is not None:
            return
        path = self.folder / LOCK
        refuse_links(self.folder, LOCK)
        try:
            file = open_regular(path, links=False, flags=os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise file_error("write", path, error) from error
        try:
            _lock(file)
        except OSError as error:
            if error.errno in _TAKEN:
                holder = _holder(file)
                file.close()
                raise FolderInUse(
                    f"{self.folder} is being written to by {holder}: wait until it ends or stop it, or choose another "
                    "folder with run_dir=..."
                ) from error
            if error.errno not in _NO_LOCKS:
                file.close()
                raise file_error("lock", path, error) from error
        self._file = file
        started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        with contextlib.suppress(OSError):  # a full disk: it is only for the message
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "since": started}).encode())

    def give_back(self) -> None:
        """Let others write."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()  # which unlocks it
            self._file = None

    def __enter__(self) -> WriterLock:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_back()


def _holder(file: io.FileIO) -> str:
    """The owner of the lock, as far as the file says so."""
    try:
        file.seek(0)
        told = json.loads(file.read(LARGEST[LOCK]))
        return printable(f"process {int(told['pid'])} (since {told['since']!s:.30})")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"


if os.name == "nt":
    import msvcrt

    _FAR = 1 << 30  # locked bytes cannot be read by others on Windows: lock one far behind the text

    def _lock(file: io.FileIO) -> None:
        """Lock ``file`` without waiting."""
        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        file.seek(0)
else:
    import fcntl

    def _lock(file: io.FileIO) -> None:
        """Lock ``file`` without waiting."""
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
