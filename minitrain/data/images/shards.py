"""Images in tar archives, as webdataset lays them out: members with one name before the first dot are one record."""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, printable
from ...files import FileError, file_error, open_regular, parse_json, sha256_of
from ..records.base import digest
from .decode import MAX_FILE_BYTES
from .records import ImageFiles
from .tar_members import Member, members

IMAGE_ENDINGS = ("png", "jpg", "jpeg", "webp", "bmp", "gif")


class TarImages(ImageFiles):
    """Records of tar archives, the shards of a data set: ``0001.jpg``, ``0001.txt`` and ``0001.cls`` are one.

    Each shard's headers are read once, when it is opened. 16 bytes are kept in memory for each member, and a member is
    one read away; nothing is unpacked to disk, and no code is run. ``image`` is the member with the ending of an image
    file. The endings in ``fields`` are the other columns: ``cls`` is read as a number, ``json`` as JSON, any other as
    text. To read shard by shard, pass ``shard_sizes`` to a loader's order, see `ImageLoader`.

    Attributes:
        paths: the shards.
        shard_sizes: ``(n,)`` int64, records in each.
        fields: endings of the other columns.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        fields: Sequence[str] = (),
        *,
        mode: str = "RGB",
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Find the members of all shards.

        Args:
            paths: the shards, in the order of the records.
            fields: endings of the members to keep besides the image; a record must have all of them.
            mode: ``"RGB"`` or ``"L"``.
            broken: ``"refuse"`` or ``"skip"``: for records with a member missing, and see `ImageFiles`.
            max_broken: with ``"skip"``, the largest share of broken images.

        Raises:
            ConfigError: if a setting is not one, or there are no shards.
            DataError: if a shard cannot be read or is no tar archive, or too many images are broken.
        """
        if isinstance(paths, str | os.PathLike) or not paths:
            raise ConfigError(f"paths={paths!r} must be a list of tar files")
        self.paths = [Path(os.path.expanduser(path)) for path in paths]
        self.fields, self.columns = tuple(fields), ("image", *fields)
        self._files = [_opened(path) for path in self.paths]
        for file in self._files:
            weakref.finalize(self, file.close)
        # Of each record: its shard, and start and size of the image and of each field.
        self._places = array("q")
        counts = []
        lacking: list[tuple[Path, str]] = []
        for shard, (path, file) in enumerate(zip(self.paths, self._files, strict=True)):
            found = members(file, os.fstat(file.fileno()).st_size, str(path), max_bytes=MAX_FILE_BYTES)
            counts.append(self._add(shard, path, found, lacking))
        width = 1 + 2 * len(self.columns)
        self._table: NDArray[np.int64] = np.frombuffer(self._places, np.int64).reshape(-1, width)
        self.find_broken(len(self._table), broken, max_broken, mode)
        for path, reason in lacking:
            self.broken.add(path, None, reason)
        self.broken.check_share(len(self._table) + len(lacking))
        if not len(self):
            raise DataError(f"there are no images in {', '.join(map(str, self.paths[:3]))}")
        self.shard_sizes = np.bincount(self._table[self._kept, 0], minlength=len(counts))

    def _add(self, shard: int, path: Path, found: Any, lacking: list[tuple[Path, str]]) -> int:
        """Keep the records of a shard; how many there are."""
        count, key, parts = 0, None, dict[str, Member]()
        for member in (*found, None):
            folder, _, name = ("", "", "") if member is None else member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            if member is None or (folder, stem) != key:
                if parts:
                    count += self._keep(shard, path, parts, lacking)
                key, parts = (folder, stem), {}
            if member is not None and stem and ending:
                if ending.lower() in parts:
                    raise DataError(printable(f"cannot use {path}: {member.name} is in it twice"))
                parts[ending.lower()] = member
        return count

    def _keep(self, shard: int, path: Path, parts: dict[str, Member], lacking: list[tuple[Path, str]]) -> bool:
        image = next((parts[ending] for ending in IMAGE_ENDINGS if ending in parts), None)
        missing = [field for field in self.fields if field not in parts]
        if image is None or missing:
            first = next(iter(parts.values())).name
            lacking.append((path, f"{first} has no member {'.' + missing[0] if missing else 'with an image'}"))
            return False
        self._places.append(shard)
        for member in (image, *(parts[field] for field in self.fields)):
            self._places.extend((member.start, member.size))
        return True

    def file_of(self, number: int) -> str:
        """The shard, and where the image is in it."""
        shard, start = self._table[number, :2].tolist()
        return printable(f"{self.paths[shard]} (image at byte {start})")

    def content_of(self, number: int) -> bytes:
        """The bytes of the image."""
        return self._read(number, 0)

    def row_of(self, number: int) -> dict[str, Any]:
        """The other members of the record."""
        return {field: self._field(number, place, field) for place, field in enumerate(self.fields, 1)}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all shards, which are read for it when it is first asked for."""
        shards = (sha256_of(path) for path in self.paths)
        return digest("tar", self.mode, repr(self.fields), *shards, self._kept.astype("<i8").tobytes())

    def _read(self, number: int, place: int) -> bytes:
        row = self._table[number]
        start, size = row[1 + 2 * place : 3 + 2 * place].tolist()
        content = os.pread(self._files[row[0]].fileno(), size, start)
        if len(content) < size:
            raise DataError("the archive has become shorter since it was opened")
        return content

    def _field(self, number: int, place: int, field: str) -> Any:
        content = self._read(number, place)
        try:
            if field == "cls":
                return int(content)
            return parse_json(content) if field.endswith("json") else content.decode("utf-8")
        except ValueError as error:
            raise DataError(f"{self.file_of(number)}: its member .{field} cannot be read: {error!s:.100}") from error


def _opened(path: Path) -> Any:
    try:
        return open_regular(path)
    except FileError as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(str(file_error("read", path, error))) from error
