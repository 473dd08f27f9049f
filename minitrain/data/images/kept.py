"""Decoded images that stay in memory, for data that is small and slow to decode."""

from __future__ import annotations

from typing import Any

from ..records.base import Records


class KeptImages(Records):
    """The records of another reader, whose images are decoded once and kept.

    Attributes:
        records: the other reader.
    """

    def __init__(self, records: Records) -> None:
        self.records, self.columns, self.broken = records, records.columns, records.broken
        self._images: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Record ``index``. Its image is not to be written to."""
        place = self._checked(index)
        if place not in self._images:
            image = self.records[place]["image"]
            image.flags.writeable = False
            self._images[place] = image
        row = {"image": self._images[place], **self.records.without_image(place)}
        return {name: row[name] for name in self.columns}

    def without_image(self, index: int) -> dict[str, Any]:
        """Record ``index`` without its image."""
        row = self.records.without_image(self._checked(index))
        return {name: value for name, value in row.items() if name != "image"}

    @property
    def fingerprint(self) -> str:
        """That of the other reader."""
        return self.records.fingerprint

    def place(self, index: int) -> str:
        """Where record ``index`` is from."""
        return self.records.place(index)
