"""A folder of results that appears whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import DataError
from ...files import FileError, checked_path, file_error, fsync_directory, make_folder


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write to, which gets the name ``path`` when the block ends without an error.

    If the block raises, Ctrl-C included, nothing is left. A process that was killed outright leaves
    ``.NAME.<random>.tmp`` beside it.

    Raises:
        DataError: if there is a file of that name, or a folder with something in it.
        FileError: if it cannot be written.
    """
    path = checked_path(os.path.expanduser(path))
    path = Path(os.path.abspath(path))
    refuse_if_full(path)
    temporary = make_folder(path.parent) / f".{path.name}.{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir()
        yield temporary
        refuse_if_full(path)
        os.replace(temporary, path)  # an empty folder may be in its place
        fsync_directory(path.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, FileError):
            raise file_error("write", path, error) from error
        raise


def refuse_if_full(path: Path) -> None:
    """Make sure that results can get this name.

    Raises:
        DataError: if there is a file of that name, or a folder with something in it.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if os.path.lexists(path):
        kind = "a folder with files in it" if path.is_dir() else "no folder"
        raise DataError(f"{path} is {kind}: results go into a new folder; choose another name")


class LinesFile:
    """A file of the results, line by line; its SHA-256 is computed on the way.

    Args:
        path: the file; it is made.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = open(path, "xb")  # noqa: SIM115  # closed by close
        self._sha256 = hashlib.sha256()

    def write(self, text: str) -> None:
        """Add text."""
        content = text.encode("utf-8", "backslashreplace")  # names of files may be no Unicode
        self._sha256.update(content)
        self._file.write(content)

    def write_json(self, fields: Mapping[str, Any]) -> None:
        """Add a line of JSON."""
        self.write(json.dumps(fields, ensure_ascii=False) + "\n")

    def close(self) -> str:
        """Make the content durable; returns its SHA-256 as 64 hexadecimal digits."""
        if not self._file.closed:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
        return self._sha256.hexdigest()
