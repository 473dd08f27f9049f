"""Opens labelled images by the name of what has them: a folder, an archive, arrays, or a table with file names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError
from ..records.base import Records
from ..records.columns import Column
from ..records.read import FORMATS, read_records
from .folder import CaptionedImages, ImageFolder
from .idx import read_idx_images
from .npz import read_npz_images
from .shards import TarImages


def read_images(
    path: str | os.PathLike[str],
    *,
    file: str = "file",
    label: str = "label",
    mode: str = "RGB",
    broken: str = "refuse",
    max_broken: float = 0.01,
) -> Records:
    """Images with a class each, in the columns ``image`` and ``label``.

    Args:
        path: one of

            - a folder with a folder of image files for each class;
            - a ``.tar`` file, or a folder with some: shards with the members ``.cls`` for the class;
            - a ``.npz`` file, see `read_npz_images`;
            - an IDX file whose name has ``images-idx3`` in it, next to one with ``labels-idx1`` in its place;
            - a table that `read_records` reads, with a column of file names, relative to its folder.
        file: the column with the file names in a table.
        label: the column with the classes in a table.
        mode: ``"RGB"`` or ``"L"`` for image files; arrays stay as they are.
        broken: ``"refuse"`` or ``"skip"`` for images that cannot be decoded; arrays have none.
        max_broken: with ``"skip"``, the largest share of them.

    Raises:
        ConfigError: if the name says none of these formats, or a setting is not one.
        DataError: if there is nothing there, it cannot be read, or too many images are broken.
    """
    place = Path(os.path.expanduser(path))
    how: dict[str, Any] = {"broken": broken, "max_broken": max_broken}
    if not place.exists():
        raise DataError(f"there is no {place}: check the path (relative to {Path.cwd()})")
    ending = place.suffix.lower()
    shards = sorted(place.glob("*.tar")) if place.is_dir() else [place] if ending == ".tar" else []
    if shards:
        return _Renamed(TarImages(shards, ("cls",), mode=mode, **how), {"cls": "label"})
    if place.is_dir():
        return ImageFolder(place, mode=mode, **how)
    if ending == ".npz":
        return read_npz_images(place)
    if "images-idx3" in place.name:
        return read_idx_images(place, place.with_name(place.name.replace("images-idx3", "labels-idx1")))
    if ending in FORMATS:
        table = read_records(place, {"file": file, "label": Column(label, "label")}, **how)
        return CaptionedImages(place.parent, table, mode=mode, **how)
    raise ConfigError(
        f"cannot tell what {place} is: give a folder with a folder for each class, .tar files, a .npz file, an IDX "
        f"file with images-idx3 in its name, or a table ({', '.join(FORMATS)})"
    )


class _Renamed(Records):
    """The records of another reader with other names for some columns."""

    def __init__(self, records: Records, names: dict[str, str]) -> None:
        self.records, self.names, self.broken = records, names, records.broken
        self.columns = tuple(names.get(name, name) for name in records.columns)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._named(self.records[index])

    def without_image(self, index: int) -> dict[str, Any]:
        """Record ``index`` without its image."""
        return self._named(self.records.without_image(index))

    def place(self, index: int) -> str:
        """Where record ``index`` is from."""
        return self.records.place(index)

    @property
    def fingerprint(self) -> str:
        """That of the other reader."""
        return self.records.fingerprint

    def _named(self, row: dict[str, Any]) -> dict[str, Any]:
        return {self.names.get(name, name): value for name, value in row.items()}
