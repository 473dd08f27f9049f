"""Files below a folder, many of them in little memory."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Collection, Iterator
from pathlib import Path

from ...errors import DataError


class FileList:
    """The files below a folder, by number: their names as one byte string, and 8 bytes for each.

    Attributes:
        folder: the folder.
    """

    def __init__(self, folder: Path, names: Iterator[str]) -> None:
        """Keep ``names``, paths relative to ``folder``, in their order."""
        self.folder = folder
        self._ends = array("q")
        kept = bytearray()
        for name in names:
            kept += os.fsencode(name)
            self._ends.append(len(kept))
        self._names = bytes(kept)

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, index: int) -> str:
        """The path of file ``index`` relative to the folder."""
        return os.fsdecode(self._names[self._ends[index - 1] if index else 0 : self._ends[index]])

    def path(self, index: int) -> Path:
        """The path of file ``index``."""
        return self.folder / self.name(index)

    def classes(self) -> list[str]:
        """Sorted names of the folders that the files are in, at the top."""
        return sorted({self.name(i).partition("/")[0] for i in range(len(self))})


def checked_folder(folder: str | os.PathLike[str]) -> Path:
    """``folder`` with ``~`` expanded.

    Raises:
        DataError: if there is no such folder.
    """
    found = Path(os.path.expanduser(folder))
    if not found.is_dir():
        raise DataError(f"there is no folder {found}: check the path (relative to {Path.cwd()})")
    return found


def files_by_class(folder: Path, suffixes: Collection[str]) -> FileList:
    """The regular files at ``folder/CLASS/…`` with one of ``suffixes``, sorted; links and hidden names are left out.

    Raises:
        DataError: if a folder cannot be listed, or there is no such file.
    """
    classes = [entry.name for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]
    found = FileList(folder, (f"{name}/{file}" for name in classes for file in _below(folder / name, suffixes)))
    if not len(found):
        raise DataError(
            f"{folder} has no folders with files in them that end in {' '.join(sorted(suffixes))}: it needs one folder "
            "for each class"
        )
    return found


def _below(folder: Path, suffixes: Collection[str]) -> Iterator[str]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in _below(Path(entry.path), suffixes))
        elif os.path.splitext(entry.name)[1].lower() in suffixes and stat.S_ISREG(
            entry.stat(follow_symlinks=False).st_mode
        ):
            yield entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The content of a folder, sorted by name: the same order on every system."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot list the folder {folder}: {error.strerror}") from error
