"""Labelled text as a folder of text files for each class."""

from __future__ import annotations

import os
from array import array
from typing import Any

import numpy as np

from ...errors import DataError
from ...files import FileError, read_file
from .base import Records, digest
from .broken import BrokenItems, BrokenRecordError
from .columns import Column, checked_row
from .indexed_file import MAX_RECORD_BYTES
from .line_records import decoded
from .paths import checked_folder, files_by_class


class LabelledFolder(Records):
    """Texts in files at ``folder/CLASS/name.txt``; records have the columns ``text`` and ``label``, the class.

    Every file is read once when the folder is opened, to check it. The order is that of the names.

    Attributes:
        classes: sorted names of the classes.
    """

    columns = ("text", "label")

    def __init__(self, folder: str | os.PathLike[str], *, broken: str = "refuse", max_broken: float = 0.01) -> None:
        """Read all files once.

        Args:
            folder: has a folder for each class.
            broken: ``"refuse"`` or ``"skip"`` for files that are empty, too long or not UTF-8; see `BrokenItems`.
            max_broken: with ``"skip"``, the largest share of broken files.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if there are no such files, or too many are broken.
        """
        self.broken = BrokenItems(broken, max_broken)
        self._files = files_by_class(checked_folder(folder), {".txt", ".text"})
        self.classes = self._files.classes()
        kept, digests = array("q"), []
        for number in range(len(self._files)):
            try:
                text = self._text(number)
            except BrokenRecordError as error:
                self.broken.add(self._files.path(number), None, str(error))
                continue
            kept.append(number)
            digests.append(digest(self._files.name(number), text))
        self.broken.check_share(len(self._files))
        self._kept, self._digest = np.array(kept, dtype=np.int64), digest("folder", *digests)

    def __len__(self) -> int:
        return self._kept.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Text ``index`` and its label.

        Raises:
            DataError: if the file has changed since the folder was opened.
        """
        number = int(self._kept[self._checked(index)])
        try:
            return {"text": self._text(number), "label": self._files.name(number).partition("/")[0]}
        except BrokenRecordError as error:
            raise DataError(f"{self._files.path(number)} has changed since its folder was opened: {error}") from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names and texts."""
        return self._digest

    def place(self, index: int) -> str:
        """The file."""
        return str(self._files.path(int(self._kept[index])))

    def _text(self, number: int) -> str:
        try:
            content = read_file(self._files.path(number), MAX_RECORD_BYTES, links=False)
        except (FileError, OSError) as error:
            raise BrokenRecordError(f"cannot be read: {error}") from error
        text = decoded(content.removeprefix(b"\xef\xbb\xbf")).replace("\r\n", "\n")
        found: str = checked_row({"text": text}, {"text": Column("text")})["text"]
        return found
