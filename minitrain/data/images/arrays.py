"""Images that are one array, in memory or a memory map."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..records.base import Records, digest
from ..records.broken import BrokenItems
from .decode import checked_array


class ImageArrays(Records):
    """An array of images with other columns of the same length, such as labels.

    Attributes:
        images: ``(N, C, H, W)`` uint8, a view of what was given.
        others: the other columns by name.

    Examples:
        >>> images = ImageArrays(np.zeros((5, 28, 28), np.uint8), label=np.arange(5))
        >>> images[3]["image"].shape, images[3]["label"], images.columns
        ((1, 28, 28), 3, ('image', 'label'))
    """

    def __init__(self, images: NDArray[np.uint8], **others: Any) -> None:
        """Combine ``images`` with ``others``.

        Args:
            images: uint8 ``(N, H, W)``, or ``(N, H, W, C)`` with 1 or 3 channels.
            others: lists or ``(N,)`` arrays by name.

        Raises:
            DataError: if the images are of another type or shape, or a column of another length.
        """
        self.images = checked_array(images)
        self.others = {
            name: values.tolist() if isinstance(values, np.ndarray) else values for name, values in others.items()
        }
        for name, values in self.others.items():
            if len(values) != len(self.images):
                raise DataError(f"there are {len(self.images)} images, and {name} has {len(values)} values")
        self.columns, self.broken = ("image", *others), BrokenItems()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Record ``index``; ``image`` is uint8 ``(C, H, W)``."""
        row = self._checked(index)
        return {"image": self.images[row], **self.without_image(row)}

    def without_image(self, index: int) -> dict[str, Any]:
        """The columns of record ``index`` besides the image."""
        return {name: values[index] for name, values in self.others.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels and the other columns."""
        pieces = (np.ascontiguousarray(self.images[i : i + 1024]).tobytes() for i in range(0, len(self), 1024))
        return digest("arrays", repr(self.images.shape), *pieces, repr(self.others))
