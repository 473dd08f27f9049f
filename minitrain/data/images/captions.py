"""Opens images with texts by the name of what has them: a folder with a captions file, a table, or archives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError
from ..records.base import Records, digest
from ..records.columns import Column
from ..records.read import FORMATS, read_records
from .folder import CaptionedImages
from .read import Renamed
from .shards import TarImages

CAPTIONS = "captions"
"""The name of the captions file in a folder, before its ending."""


def read_captions(
    path: str | os.PathLike[str],
    *,
    file: str = "file",
    caption: str = "caption",
    label: str | None = None,
    mode: str = "RGB",
    broken: str = "refuse",
    max_broken: float = 0.01,
) -> Records:
    """Images with texts, in the columns ``image`` and ``caption``; if it is asked for, ``label`` has their class.

    Args:
        path: one of

            - a table that `read_records` reads, with a column of file names, relative to its folder. Several rows with
              one file name are several texts of one image;
            - a folder with such a table, called ``captions.tsv`` or with another ending;
            - a ``.tar`` file, or a folder with some: shards with the members ``.txt`` for the text and ``.cls`` for the
              class.
        file: the column with the file names in a table.
        caption: the column with the texts in a table: a text, or a list of several.
        label: the column with the classes in a table; for archives, any name asks for them.
        mode: ``"RGB"`` or ``"L"``.
        broken: ``"refuse"`` or ``"skip"`` for images that cannot be decoded.
        max_broken: with ``"skip"``, the largest share of them.

    Raises:
        ConfigError: if the name says none of these formats, or a setting is not one.
        DataError: if there is nothing there, it cannot be read, or too many images are broken.
    """
    place = Path(os.path.expanduser(path))
    how: dict[str, Any] = {"broken": broken, "max_broken": max_broken}
    if not place.exists():
        raise DataError(f"there is no {place}: check the path (relative to {Path.cwd()})")
    shards = sorted(place.glob("*.tar")) if place.is_dir() else [place] if place.suffix.lower() == ".tar" else []
    if shards:
        members = {"txt": "caption"} | ({} if label is None else {"cls": "label"})
        return Renamed(TarImages(shards, tuple(members), mode=mode, **how), members)
    if place.is_dir():
        tables = [one for ending in FORMATS if (one := place / f"{CAPTIONS}{ending}").is_file()]
        if len(tables) != 1:
            known = ", ".join(f"{CAPTIONS}{ending}" for ending in FORMATS)
            raise DataError(f"{place} has {len(tables)} of the files {known}: it needs one, or .tar files")
        place = tables[0]
    if place.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"cannot tell what {place} is: give a table ({', '.join(FORMATS)}) with file names and texts, a folder "
            f"with one called {CAPTIONS}, or .tar files"
        )
    columns: dict[str, str | Column] = {"file": file, "caption": Column(caption, "any")}
    if label is not None:
        columns["label"] = Column(label, "label")
    return CaptionedImages(place.parent, ByFile(read_records(place, columns, **how)), mode=mode, **how)


class ByFile(Records):
    """The records of a table with those of one file name together: ``caption`` is the list of all their texts.

    The order is that of the first rows. The other columns are those of the first row.

    Attributes:
        records: the table, with the columns ``file`` and ``caption``.
    """

    def __init__(self, records: Records) -> None:
        """Find the rows of each file, which takes memory for all file names while it goes on."""
        self.records, self.columns, self.broken = records, records.columns, records.broken
        rows: dict[str, list[int]] = {}
        for number, record in enumerate(records):
            rows.setdefault(record["file"], []).append(number)
        self._rows = list(rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        first, *others = (self.records[row] for row in self._rows[self._checked(index)])
        if not others:
            return first
        texts = [one["caption"] for one in (first, *others)]
        return first | {"caption": [text for some in texts for text in (some if isinstance(some, list) else [some])]}

    def place(self, index: int) -> str:
        """Where the first row of record ``index`` is from."""
        return self.records.place(self._rows[index][0])

    @property
    def fingerprint(self) -> str:
        """That of the table."""
        return digest("by file", self.records.fingerprint)
