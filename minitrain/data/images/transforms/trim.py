"""Cutting an empty border away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError
from ....random import Key
from .base import Images


@dataclass(frozen=True)
class Trim:
    """Cut images down to the square around what is drawn on them, so that drawings fill their images alike.

    The background is the colour of the top left corner. The square has a border of one background pixel, and the
    drawing is in its middle. An image of one colour stays as it is. Nothing is random: training and evaluation see the
    same.

    Attributes:
        tolerance: a pixel is drawn if a channel differs from the background by more, from 0 to 255.
    """

    tolerance: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 255:
            raise ConfigError(f"tolerance={self.tolerance} must be from 0 to 255")

    def __call__(self, images: Images, key: Key | None, /) -> Any:
        """A list of images ``(C, side, side)``, of different sizes."""
        return [self.trimmed(image) for image in images]

    def trimmed(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The square of one image ``(C, H, W)``."""
        background = image[:, :1, :1]
        drawn = (np.abs(image.astype(np.int16) - background) > self.tolerance).any(0)  # (H, W)
        rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
        if not rows.size:
            return image
        part = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = part.shape[1:]
        side = max(height, width) + 2
        square = np.empty((len(image), side, side), np.uint8)
        square[:] = background
        top, left = (side - height) // 2, (side - width) // 2
        square[:, top : top + height, left : left + width] = part
        return square
