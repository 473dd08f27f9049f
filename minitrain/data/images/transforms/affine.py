"""Random rotation and stretching of images of one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError
from ....random import Key
from .base import Images, check_share, drawn, stacked
from .pillow import from_pillow, to_pillow

Matrix = tuple[float, float, float, float, float, float]
"""Rows ``(a, b, c)`` and ``(d, e, f)``: output pixel (x, y) is input pixel (a x + b y + c, d x + e y + f)."""


@dataclass(frozen=True)
class RandomAffine:
    """Turn images about their middle, and stretch height and width independently.

    Pixels are interpolated bilinearly. Those that come in from outside have the colour of the image's top left corner.
    In evaluation it changes nothing.

    Attributes:
        degrees: largest angle, either way, from 0 to 180.
        stretch: each side is multiplied by a factor from ``1 / (1 + stretch)`` to ``1 + stretch``, from 0 to 1.
    """

    degrees: float = 0.0
    stretch: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ConfigError(f"degrees={self.degrees} must be from 0 to 180")
        check_share("stretch", self.stretch)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The changed images, uint8."""
        from PIL import Image as Pillow

        batch = stacked(images)
        if key is None:
            return batch
        changed = np.empty_like(batch)
        for row, numbers in enumerate((2 * drawn(key, batch, 3) - 1).tolist()):
            image = to_pillow(batch[row])
            matrix = self.matrix(image.width, image.height, *numbers)
            how = Pillow.Transform.AFFINE, matrix, Pillow.Resampling.BILINEAR
            changed[row] = from_pillow(image.transform(image.size, *how, fillcolor=image.getpixel((0, 0))))
        return changed

    def matrix(self, width: int, height: int, turn: float, across: float, down: float) -> Matrix:
        """The map for an image, from three numbers between -1 and 1: how far it is turned and stretched."""
        angle = math.radians(self.degrees * turn)
        wide, tall = ((1 + self.stretch) ** -amount for amount in (across, down))  # the map goes from output to input
        a, b = math.cos(angle) * wide, math.sin(angle) * wide
        d, e = -math.sin(angle) * tall, math.cos(angle) * tall
        x, y = width / 2, height / 2  # the middle stays where it is
        return a, b, x - a * x - b * y, d, e, y - d * x - e * y
