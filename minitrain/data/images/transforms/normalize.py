"""From bytes to numbers with mean 0 and deviation 1, and the exact statistics of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError, DataError
from ....random import Key
from .base import Images, stacked

_SQUARES = np.arange(256, dtype=np.int64) ** 2


@dataclass(frozen=True)
class Normalize:
    """``(pixel / 255 - mean) / std`` of each channel, float32; the last transform.

    Attributes:
        mean: of each channel.
        std: of each channel, above 0.
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(0 < s < math.inf for s in self.std):
            raise ConfigError(f"mean={self.mean} and std={self.std} need a number for each channel, std above 0")

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[np.float32]:
        """The images as float32.

        Raises:
            DataError: if they have another number of channels, or are not uint8.
        """
        batch = stacked(images)
        if batch.shape[1] != len(self.mean) or batch.dtype != np.uint8:
            raise DataError(
                f"images are {batch.dtype} {batch.shape}, and Normalize has {len(self.mean)} channels and expects uint8"
            )
        std = np.array(self.std)
        scale = (1 / (255 * std)).astype(np.float32)[:, None, None]
        shift = (-np.array(self.mean) / std).astype(np.float32)[:, None, None]
        return np.asarray(batch * scale + shift)


def channel_statistics(images: Iterable[NDArray[np.uint8]]) -> Normalize:
    """The `Normalize` of these images: mean and deviation of each channel over all pixels, from exact sums.

    Args:
        images: uint8 ``(C, H, W)``, of any sizes; one at a time is in memory.

    Raises:
        DataError: if there are none, they differ in channels, or a channel has one value only.
    """
    sums: list[list[int]] = []  # of each channel: the sums of pixels and of their squares; Python's integers
    pixels = 0
    for image in images:
        values = np.asarray(image)
        if values.dtype != np.uint8 or values.ndim != 3 or (sums and len(sums) != len(values)):
            raise DataError(
                f"an image is {values.dtype} {values.shape}; expected uint8 (C, H, W) with the same C for all images"
            )
        sums = sums or [[0, 0] for _ in values]
        pixels += math.prod(values.shape[1:])
        for channel, plane in zip(sums, values, strict=True):
            counts = np.bincount(plane.ravel(), minlength=256)
            channel[0] += int(counts @ np.arange(256))
            channel[1] += int(counts @ _SQUARES)
    # Whole numbers until the last division: the variance is no small difference of large rounded numbers.
    spreads = [pixels * squares - total * total for total, squares in sums]
    if not pixels or not all(spreads):
        raise DataError("there are no images, or a channel has the same value everywhere: nothing to normalise by")
    mean = tuple(total / (255 * pixels) for total, _ in sums)
    return Normalize(mean, tuple(math.sqrt(spread) / (255 * pixels) for spread in spreads))
