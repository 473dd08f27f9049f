"""Facts about a data set of the catalog, and the check of its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ...errors import DataError
from ...files import FileError, sha256_of
from ..records.base import Records, digest


class Prepared(NamedTuple):
    """The records of a data set.

    Attributes:
        train: to train on.
        validation: to choose settings by.
        test: to measure a finished model on.
    """

    train: Records
    validation: Records
    test: Records


class Files:
    """The files of a data set in one folder, each compared with its SHA-256 before it is used.

    Attributes:
        entry: the data set.
        folder: where the files are.
        check: whether files are compared; not for files of your own of the same kind.
    """

    def __init__(self, entry: Entry, folder: Path | None, check: bool) -> None:
        self.entry, self.check = entry, check
        self.folder = entry.find() if folder is None else folder

    def __call__(self, name: str, elsewhere: Path | None = None) -> Path:
        """The path of file ``name``.

        Args:
            name: its path in the folder.
            elsewhere: where else it may be, under its last name.

        Raises:
            DataError: if there is no such file, or it is another one.
        """
        path = self._there(name) if elsewhere is None or self._has(name) else elsewhere / name
        if not path.is_file():
            raise self._missing(path)
        if self.check:
            try:
                found = sha256_of(path)
            except FileError as error:
                raise DataError(str(error)) from error
            self._compare(name, path, found)
        return path

    def folder_of(self, name: str) -> Path:
        """The folder ``name``, whose files are compared together.

        Raises:
            DataError: if there is no such folder, or its files are others.
        """
        path = self._there(name)
        if not path.is_dir():
            raise self._missing(path)
        if self.check:
            names = sorted(os.listdir(path))
            self._compare(name, path, digest(*(f"{name} {sha256_of(path / name)}" for name in names)))
        return path

    def _has(self, name: str) -> bool:
        return self.folder is not None and (self.folder / name).is_file()

    def _there(self, name: str) -> Path:
        if self.folder is None:
            raise DataError(f"the data set {self.entry.name} is not installed: {self.entry.get}")
        return self.folder / name

    def _missing(self, path: Path) -> DataError:
        return DataError(
            f"the data set {self.entry.name} needs {path}, which is not there: {self.entry.get}; or give the folder "
            "that has it"
        )

    def _compare(self, name: str, path: Path, found: str) -> None:
        if found != (expected := self.entry.files[name]):
            raise DataError(
                f"{path} is not what the figures of {self.entry.name} were measured on: its SHA-256 is {found}, "
                f"expected is {expected}. Pass check=False to use it nevertheless"
            )


@dataclass(frozen=True)
class Entry:
    """A data set of the catalog.

    Attributes:
        name: its name.
        title: what it is, in a line.
        licence: its licence.
        get: how to get its files; empty if there are none.
        load: makes the records from the files.
        find: the folder where a package puts the files; ``None`` if it is not installed.
        files: the SHA-256 of each file, by its name in the folder.
    """

    name: str
    title: str
    licence: str
    get: str
    load: Callable[[Files], Prepared]
    find: Callable[[], Path | None] = lambda: None
    files: Mapping[str, str] = field(default_factory=dict)

    def prepare(self, folder: str | os.PathLike[str] | None = None, *, check: bool = True) -> Prepared:
        """The records.

        Args:
            folder: where the files are; ``None`` looks where the package puts them.
            check: whether files must have the SHA-256 of ``files``; ``False`` takes files of your own of this kind.

        Raises:
            DataError: if a file is missing, another one, or damaged; the message says how to get it.
        """
        path = None if folder is None else Path(os.path.expanduser(folder))
        return self.load(Files(self, path, check))


def package_folder(package: str, *parts: str) -> Path | None:
    """A folder inside an installed Python package, which is not imported; ``None`` if it is not installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], *parts)


def system_folder(path: str) -> Path | None:
    """A folder of a system package; ``None`` if it is not installed."""
    return Path(path) if os.path.isdir(path) else None
