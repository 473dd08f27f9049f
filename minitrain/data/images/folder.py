"""Folders of image files: one folder for each class, or a file with a caption for each image."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import DataError, printable
from ...files import FileError, file_error, read_file
from ..records.base import Records, digest
from ..records.paths import checked_folder, files_by_class
from .decode import MAX_FILE_BYTES, SUFFIXES
from .records import ImageFiles


class ImageFolder(ImageFiles):
    """Images at ``folder/CLASS/…``; records have the columns ``image`` and ``label``, the class.

    The order is that of the names. Links and hidden files are left out.

    Attributes:
        classes: sorted names of the classes.
    """

    columns = ("image", "label")

    def __init__(
        self, folder: str | os.PathLike[str], *, mode: str = "RGB", broken: str = "refuse", max_broken: float = 0.01
    ) -> None:
        """List the files.

        Args:
            folder: has a folder for each class.
            mode: ``"RGB"`` or ``"L"``.
            broken: ``"refuse"`` or ``"skip"``, see `ImageFiles`.
            max_broken: with ``"skip"``, the largest share of broken images.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if there are no images, or too many are broken.
        """
        self._files = files_by_class(checked_folder(folder), SUFFIXES)
        self.classes = self._files.classes()
        self.find_broken(len(self._files), broken, max_broken, mode)

    def file_of(self, number: int) -> str:
        """The path."""
        return printable(str(self._files.path(number)))

    def content_of(self, number: int) -> bytes:
        """The bytes of the file."""
        return read_image_file(self._files.path(number))

    def row_of(self, number: int) -> dict[str, Any]:
        """The label."""
        return {"label": self._files.name(number).partition("/")[0]}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all names and files, which are read for it when it is first asked for."""
        files = ((self._files.name(n), self.content_of(n)) for n in self._kept.tolist())
        return digest("images", self.mode, *(digest(name, hashlib.sha256(data).digest()) for name, data in files))


class CaptionedImages(ImageFiles):
    """Images that a column of other records names: files in a folder, with captions or any other columns.

    The records are those of `read_records`, such as a TSV file with a file name and a caption in each row.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        records: Records,
        *,
        file: str = "file",
        mode: str = "RGB",
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Combine images and records.

        Args:
            folder: the names of files count from here, and must not lead out of it.
            records: have a column with a file name.
            file: the name of that column; the others stay as they are, and ``image`` is new.
            mode: ``"RGB"`` or ``"L"``.
            broken: ``"refuse"`` or ``"skip"``, see `ImageFiles`.
            max_broken: with ``"skip"``, the largest share of broken images.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if there is no such column, or too many images are broken.
        """
        self.folder, self.records, self.file = checked_folder(folder), records, file
        if file not in records.columns:
            raise DataError(
                f"the records have the columns {', '.join(records.columns)}, and no {file!r} with file names"
            )
        self.columns = ("image", *(name for name in records.columns if name != file))
        self.find_broken(len(records), broken, max_broken, mode)

    def file_of(self, number: int) -> str:
        """The file name in the record, and where the record is."""
        return printable(f"{self.records[number][self.file]} ({self.records.place(number)})")

    def content_of(self, number: int) -> bytes:
        """The bytes of the file."""
        name = str(self.records[number][self.file])
        path = Path(os.path.normpath(self.folder / name))
        if not path.is_relative_to(os.path.normpath(self.folder)) or "\0" in name:
            raise DataError(f"the file name leads out of {self.folder}: give one inside the folder")
        return read_image_file(path)

    def row_of(self, number: int) -> dict[str, Any]:
        """The other columns of the record."""
        return {name: value for name, value in self.records[number].items() if name != self.file}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the records and all files, which are read for it when it is first asked for."""
        files = (hashlib.sha256(self.content_of(n)).digest() for n in self._kept.tolist())
        return digest("captions", self.mode, self.records.fingerprint, *files)


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file, not through a link.

    Raises:
        DataError: if it cannot be read, is no regular file, or is far too large.
    """
    try:
        return read_file(path, MAX_FILE_BYTES, links=False)
    except FileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(str(file_error("read", path, error))) from error
