"""Parallel text: line n of one file belongs to line n of the other."""

from __future__ import annotations

import os
from array import array
from itertools import zip_longest
from typing import Any

from ...errors import DataError
from .base import Records, digest
from .broken import BrokenItems, BrokenRecordError
from .columns import Column, checked_row
from .indexed_file import IndexedFile
from .line_records import decoded


class ParallelText(Records):
    """Pairs of lines of text files, such as a text and its translation.

    The files are read once when they are opened, and 8 bytes are kept in memory for each line of each.

    Attributes:
        paths: the files by the names of their columns.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        target: str | os.PathLike[str],
        *,
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Read both files once.

        Args:
            source: the file of the column ``source``.
            target: the file of the column ``target``.
            broken: ``"refuse"`` raises an error for a pair with an empty line or one that is not UTF-8, ``"skip"``
                leaves the pair out; see `BrokenItems`.
            max_broken: with ``"skip"``, the largest share of broken pairs.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if a file cannot be read, the numbers of lines differ, or too many pairs are broken.
        """
        self.broken = BrokenItems(broken, max_broken)
        files = {"source": IndexedFile(source), "target": IndexedFile(target)}
        self._files, self.columns = files, tuple(files)
        self.paths = {name: file.path for name, file in files.items()}
        number, left_out = 0, array("q")
        ended: set[str] = set()
        for number, lines in enumerate(zip_longest(*(file.scan() for file in files.values()))):
            ended |= {name for name, line in zip(files, lines, strict=True) if line is None}
            if ended:
                continue  # the files are counted to their ends, for the message
            for (name, file), (line, content) in zip(files.items(), lines, strict=True):
                try:
                    checked_row({name: decoded(content)}, {name: Column(name)})
                except BrokenRecordError as error:
                    left_out.append(number)
                    self.broken.add(file.path, line, str(error))
                    break
        if ended:
            counts = ", ".join(f"{file.path} has {len(file)}" for file in files.values())
            raise DataError(
                f"parallel files must have the same number of lines: {counts}; line n of one belongs to line n of the "
                "other, so find where they begin to differ"
            )
        for file in files.values():
            file.leave_out(left_out)
        self.broken.check_share(number + 1)
        if not len(self):
            raise DataError(f"there are no pairs of lines in {' and '.join(map(str, self.paths.values()))}")

    def __len__(self) -> int:
        return len(self._files["source"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Pair ``index``: ``{"source": …, "target": …}``.

        Raises:
            DataError: if a file has changed since it was opened.
        """
        row = self._checked(index)
        return {name: file.text(row) for name, file in self._files.items()}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of both files' bytes, and of what was left out."""
        return digest("parallel", *(file.sha256 for file in self._files.values()), str(len(self)))

    def place(self, index: int) -> str:
        """The file of the source, and the line."""
        return f"{self.paths['source']}:{self._files['source'].number_of(index) + 1}"
