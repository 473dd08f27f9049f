"""How images become arrays: the size, and the normalisation of the training data."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...data import Normalize, Records, Resize, Trim, channel_statistics
from ...data.images.decode import MODES, checked_mode, decode_image
from ...data.images.folder import read_image_file
from ...errors import DataError
from ..settings.pictures import PicturesConfig

LOOKED_AT = 10_000
"""Images, spread over the training data, that the normalisation is computed from."""
LARGEST_SIZE = 4096


@dataclass(frozen=True, eq=False)
class Pictures:
    """Makes arrays of images.

    Attributes:
        size: height and width.
        normalize: mean and deviation of each channel over the training data.
        trim: whether an empty border is cut away first.
    """

    size: int
    normalize: Normalize
    trim: bool = False

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return len(self.normalize.mean)

    def read(self, text: str) -> NDArray[np.float32]:
        """The image in a file, float32 (1, C, size, size).

        Raises:
            DataError: if there is none.
        """
        path = Path(os.path.expanduser(text))
        if not path.is_file():
            raise DataError(f"there is no image {path}: this model reads images, so give the path of one")
        mode = next(mode for mode, channels in MODES.items() if channels == self.channels)
        return self.array(decode_image(read_image_file(path), mode=checked_mode(mode)))

    def array(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """An image (C, H, W) as the model sees it, float32 (1, C, size, size)."""
        images: Any = Trim()([image], None) if self.trim else [image]
        return self.normalize(Resize(self.size)(images, None), None)

    def to_json(self) -> dict[str, Any]:
        """Size, mean and deviation, and whether borders are cut."""
        kept = {"size": self.size, "mean": list(self.normalize.mean), "std": list(self.normalize.std)}
        return kept | {"trim": self.trim}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Self:
        """The inverse of `to_json`; raises ``ValueError`` and others if it is damaged."""
        size, mean, std = kept["size"], kept["mean"], kept["std"]
        if type(size) is not int or not 1 <= size <= LARGEST_SIZE:
            raise ValueError(f"size={size!r:.50} must be from 1 to {LARGEST_SIZE}")
        if not all(type(x) in (int, float) and math.isfinite(x) for x in (*mean, *std)) or len(mean) not in (1, 3):
            raise ValueError("mean and std must be 1 or 3 numbers each")
        if type(trim := kept.get("trim", False)) is not bool:
            raise ValueError(f"trim={trim!r:.50} must be true or false")
        return cls(size, Normalize(tuple(map(float, mean)), tuple(map(float, std))), trim)

    @classmethod
    def of(cls, data: PicturesConfig, train: Records) -> Self:
        """The size that settings ask for, and the normalisation of the training data.

        Raises:
            DataError: if the size is left open and the first image is no square.
        """
        first = train[0]["image"]
        if data.size is None and first.shape[1] != first.shape[2]:
            raise DataError(
                f"the first image has {first.shape[1]} x {first.shape[2]} pixels, and the model takes squares: give "
                "data.size=PIXELS, which scales the shorter side and cuts the middle out"
            )
        images = (train[row]["image"] for row in spread(len(train), LOOKED_AT))
        normalize = channel_statistics(Trim()([image], None)[0] if data.trim else image for image in images)
        return cls(data.size or first.shape[1], normalize, data.trim)


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` indices below ``count``, evenly spread."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).astype(int).tolist()
