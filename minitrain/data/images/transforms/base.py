"""The interface of transforms, and a row of them.

A transform maps images to images. Row i of a batch is changed by the random numbers of sample ``key.sample + i``, so a
batch has one result however it is split, by however many workers, and in a resumed run. Without a key, in evaluation,
nothing is random: images only get their size and their type.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError, DataError
from ....random import Key, uniform

Images = NDArray[Any] | Sequence[NDArray[np.uint8]]
"""``(B, C, H, W)``, or B images ``(C, H, W)`` of different sizes."""


class Transform(Protocol):
    """A function of images and a key."""

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The changed images, an array ``(B, C, H, W)``; the given ones stay as they are.

        Args:
            images: uint8, of one size or, for transforms that set the size, of different ones.
            key: random key, with the number of the first sample; ``None`` means evaluation.
        """
        ...


class Compose:
    """Several transforms, one after another.

    Attributes:
        transforms: the transforms.
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The images after all transforms; each has a key of its own."""
        for number, transform in enumerate(self.transforms):
            images = transform(images, None if key is None else key.fold(number))
        return stacked(images)

    def __repr__(self) -> str:
        return f"Compose([{', '.join(map(repr, self.transforms))}])"


def stacked(images: Images) -> NDArray[Any]:
    """Images as one array ``(B, C, H, W)``.

    Raises:
        DataError: if they differ in shape, or have not three axes each.
    """
    if isinstance(images, np.ndarray):
        if images.ndim != 4:
            raise DataError(f"images have shape {images.shape}; expected (B, C, H, W)")
        return images
    shapes = {image.shape for image in images}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise DataError(
            f"images of the shapes {sorted(shapes)} cannot be one batch: begin the transforms with one that sets the "
            "size, such as Resize or RandomResizedCrop"
        )
    return np.stack(images)


def drawn(key: Key, images: Images, count: int) -> NDArray[np.float64]:
    """``count`` uniform numbers in [0, 1) for each image, ``(B, count)``."""
    return np.asarray(uniform(key, (len(images), count)))


def check_share(name: str, value: float) -> None:
    """Refuse a probability that is none.

    Raises:
        ConfigError: if it is not from 0 to 1.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"{name}={value} must be from 0 to 1")


def check_range(name: str, value: tuple[float, float], *, low: float, high: float) -> None:
    """Refuse a range that is not within ``low`` and ``high``, or the wrong way round.

    Raises:
        ConfigError: if it is not.
    """
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ConfigError(f"{name}={value} must be two numbers in rising order from {low:g} to {high:g}")


def check_size(name: str, value: int, *, least: int = 1) -> None:
    """Refuse a number of pixels that is too small.

    Raises:
        ConfigError: if it is.
    """
    if value < least:
        raise ConfigError(f"{name}={value} must be at least {least}")
