"""Random rectangles without an image in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....random import Key
from .base import Images, check_range, check_share, drawn, stacked


@dataclass(frozen=True)
class RandomErasing:
    """Fill a rectangle of some images with one grey (Zhong et al., 2017, arXiv:1708.04896).

    Sides are cut to those of the image, so that very flat rectangles are smaller than their area says. In evaluation it
    changes nothing.

    Attributes:
        share: probability that an image gets a rectangle.
        area: smallest and largest share of the image's area.
        aspect: smallest and largest width over height.
        fill: the grey, from 0 to 255.
    """

    share: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    fill: int = 0

    def __post_init__(self) -> None:
        check_share("share", self.share)
        check_range("area", self.area, low=0.0, high=1.0)
        check_range("aspect", self.aspect, low=1e-3, high=1e3)

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The images, some with a rectangle."""
        batch = stacked(images)
        if key is None:
            return batch
        height, width = batch.shape[2:]
        chosen, share, ratio, down, right = drawn(key, batch, 5).T
        area = height * width * (self.area[0] + (self.area[1] - self.area[0]) * share)
        flat, tall = np.log(self.aspect)
        aspect = np.exp(flat + (tall - flat) * ratio)
        h = np.clip(np.rint(np.sqrt(area / aspect)), 1, height)
        w = np.clip(np.rint(np.sqrt(area * aspect)), 1, width)
        top, left = np.floor(down * (height - h + 1)), np.floor(right * (width - w + 1))
        rows, columns = np.arange(height), np.arange(width)
        in_rows = (rows >= top[:, None]) & (rows < (top + h)[:, None]) & (chosen < self.share)[:, None]  # (B, H)
        in_columns = (columns >= left[:, None]) & (columns < (left + w)[:, None])  # (B, W)
        erased = in_rows[:, None, :, None] & in_columns[:, None, None, :]  # (B, 1, H, W)
        return np.where(erased, batch.dtype.type(self.fill), batch)
