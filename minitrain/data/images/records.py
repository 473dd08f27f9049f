"""The base of readers of images: decoding on demand, and finding broken images when they are opened."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..records.base import Records
from ..records.broken import BrokenItems
from .decode import checked_mode, decode_image


class ImageFiles(Records):
    """Records with an image that is decoded when it is asked for. A subclass finds the files and their other columns.

    With ``broken="refuse"`` a broken image raises an error that names it when it is read. With ``broken="skip"`` all
    images are decoded once when the reader is made, by two threads, and broken ones are left out.

    Attributes:
        mode: ``"RGB"`` or ``"L"``.
    """

    mode: str
    _kept: NDArray[np.int64]

    @abstractmethod
    def file_of(self, number: int) -> str:
        """The name of image ``number``, for messages."""

    @abstractmethod
    def content_of(self, number: int) -> bytes:
        """The bytes of image ``number``; raises `DataError`."""

    @abstractmethod
    def row_of(self, number: int) -> dict[str, Any]:
        """The other columns of image ``number``."""

    def find_broken(self, count: int, broken: str, max_broken: float, mode: str) -> None:
        """Set the mode and the policy, and look at ``count`` images if broken ones are to be left out.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if too many are broken.
        """
        self.mode = checked_mode(mode)
        self.broken = BrokenItems(broken, max_broken)
        self._kept = np.arange(count)
        if broken == "refuse":
            return
        kept = array("q")
        for number, reason in enumerate(in_threads(self._problem, range(count), workers=2)):
            if reason is None:
                kept.append(number)
            else:
                self.broken.add(self.file_of(number), None, reason)
        self.broken.check_share(count)
        self._kept = np.array(kept, dtype=np.int64)

    def __len__(self) -> int:
        return self._kept.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Record ``index``: ``image``, uint8 ``(C, H, W)``, and the other columns.

        Raises:
            DataError: if the image is broken.
        """
        number = int(self._kept[self._checked(index)])
        try:
            image = decode_image(self.content_of(number), mode=self.mode)
        except DataError as error:
            raise DataError(
                f'{self.file_of(number)}: {error}; replace it, or pass broken="skip" to leave such images out'
            ) from error
        return {"image": image, **self.row_of(number)}

    def without_image(self, index: int) -> dict[str, Any]:
        """The columns of record ``index`` besides the image, which is not decoded."""
        return self.row_of(int(self._kept[self._checked(index)]))

    def place(self, index: int) -> str:
        """The file."""
        return self.file_of(int(self._kept[index]))

    def _problem(self, number: int) -> str | None:
        try:
            decode_image(self.content_of(number), mode=self.mode)
            self.row_of(number)
        except DataError as error:
            return str(error)
        return None


def in_threads(function: Any, items: Iterable[Any], *, workers: int) -> Iterator[Any]:
    """``map(function, items)`` by several threads, with a few items at a time in memory; the order stays."""
    pending = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="minitrain-decode") as pool:
        while some := list(islice(pending, 64 * workers)):
            yield from pool.map(function, some)
