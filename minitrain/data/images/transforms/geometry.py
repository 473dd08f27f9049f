"""Sizes and places: resizing, crops, mirror images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....random import Key
from .base import Images, check_range, check_share, check_size, drawn, stacked
from .pillow import from_pillow, to_pillow

_ATTEMPTS = 10

Box = tuple[float, float, float, float]
"""Left, upper, right and lower border, in pixels."""


@dataclass(frozen=True)
class Resize:
    """Scale the shorter side to ``size``, and cut the middle out: square images, whatever came in.

    Bilinear, over all pixels that an output pixel covers, so that smaller images have no aliasing.

    Attributes:
        size: height and width of the result.
    """

    size: int

    def __post_init__(self) -> None:
        check_size("size", self.size)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[np.uint8]:
        """The images ``(B, C, size, size)``."""
        return np.stack([scaled(image, middle(image), self.size) for image in images])


@dataclass(frozen=True)
class CenterCrop:
    """Cut the middle out of images of one size, without scaling.

    Attributes:
        size: height and width of the result, at most those of the images.
    """

    size: int

    def __post_init__(self) -> None:
        check_size("size", self.size)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The images ``(B, C, size, size)``.

        Raises:
            ConfigError: if the images are smaller.
        """
        batch = stacked(images)
        height, width = batch.shape[2:]
        check_size(f"the images are {height} x {width}, whose shorter side", min(height, width), least=self.size)
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return batch[:, :, top : top + self.size, left : left + self.size]


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut a random part out and scale it to a square (Szegedy et al., 2014, arXiv:1409.4842, section 6).

    In evaluation it is `Resize`.

    Attributes:
        size: height and width of the result.
        area: smallest and largest share of the image's area.
        aspect: smallest and largest width over height.
    """

    size: int
    area: tuple[float, float] = (0.08, 1.0)
    aspect: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_size("size", self.size)
        check_range("area", self.area, low=1e-6, high=1.0)
        check_range("aspect", self.aspect, low=1e-3, high=1e3)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[np.uint8]:
        """The images ``(B, C, size, size)``."""
        if key is None:
            return Resize(self.size)(images, None)
        numbers = drawn(key, images, 4 * _ATTEMPTS).reshape(-1, _ATTEMPTS, 4)
        boxes = [self.box(image, row) for image, row in zip(images, numbers, strict=True)]
        return np.stack([scaled(image, box, self.size) for image, box in zip(images, boxes, strict=True)])

    def box(self, image: NDArray[Any], numbers: NDArray[np.float64]) -> Box:
        """The part of an image: the first of ten attempts that fits, or else the middle.

        Args:
            image: ``(C, H, W)``.
            numbers: ``(10, 4)`` uniform numbers.
        """
        height, width = image.shape[1:]
        (low, high), (flat, tall) = self.area, (math.log(bound) for bound in self.aspect)
        for share, ratio, down, right in numbers.tolist():
            area = height * width * (low + (high - low) * share)
            aspect = math.exp(flat + (tall - flat) * ratio)
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
                return left, top, left + w, top + h
        return middle(image)


@dataclass(frozen=True)
class RandomCrop:
    """Move images of one size by up to ``padding`` pixels in each direction; what comes in from outside is ``fill``.

    In evaluation it changes nothing.

    Attributes:
        padding: largest move, in pixels.
        fill: grey outside of the image, from 0 to 255; ``None`` takes the colour of its top left corner.
    """

    padding: int
    fill: int | None = None

    def __post_init__(self) -> None:
        check_size("padding", self.padding, least=0)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The moved images."""
        batch = stacked(images)
        if key is None or self.padding == 0:
            return batch
        height, width = batch.shape[2:]
        pad = self.padding
        padded = np.empty((*batch.shape[:2], height + 2 * pad, width + 2 * pad), batch.dtype)
        padded[:] = batch[:, :, :1, :1] if self.fill is None else self.fill
        padded[:, :, pad : pad + height, pad : pad + width] = batch
        moves = (drawn(key, batch, 2) * (2 * pad + 1)).astype(np.int64)
        moved = np.empty_like(batch)
        for row, (top, left) in enumerate(moves.tolist()):
            moved[row] = padded[row, :, top : top + height, left : left + width]
        return moved


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror images, left and right. In evaluation it changes nothing.

    Attributes:
        share: probability that an image is mirrored.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        check_share("share", self.share)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The images, some of them mirrored."""
        batch = stacked(images)
        if key is None:
            return batch
        chosen = drawn(key, batch, 1)[:, 0] < self.share
        mirrored = batch.copy()
        mirrored[chosen] = batch[chosen][..., ::-1]
        return mirrored


def middle(image: NDArray[Any]) -> Box:
    """The largest square in the middle of an image ``(C, H, W)``."""
    height, width = image.shape[1:]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def scaled(image: NDArray[np.uint8], box: Box, size: int) -> NDArray[np.uint8]:
    """Part ``box`` of an image ``(C, H, W)`` as ``(C, size, size)``."""
    from PIL import Image as Pillow

    if box == (0.0, 0.0, float(size), float(size)) and image.shape[1:] == (size, size):
        return image
    return from_pillow(to_pillow(image).resize((size, size), Pillow.Resampling.BILINEAR, box=box))
