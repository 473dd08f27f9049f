"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError
from ....random import Key
from .base import Images, check_share, drawn, stacked

_LUMA = np.array([299, 587, 114])
"""Weights of red, green and blue in grey, in thousandths (ITU-R BT.601)."""
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""From RGB to luma and two coordinates of colour, in whose plane a rotation changes the hue."""


@dataclass(frozen=True)
class ColourJitter:
    """Change brightness, contrast, saturation and hue at random, in this order.

    Rounding and clipping happen once, at the end. In evaluation it changes nothing.

    Attributes:
        brightness: pixels are multiplied by a factor from ``1 - brightness`` to ``1 + brightness``.
        contrast: so are their differences from the mean grey of the image.
        saturation: so are their differences from their own grey; without effect on grey images.
        hue: colours turn by an angle up to so many full turns, at most 0.5; without effect on grey images.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check_share(name, getattr(self, name))
        if not 0 <= self.hue <= 0.5:
            raise ConfigError(f"hue={self.hue} must be from 0 to 0.5")

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The changed images, uint8."""
        batch = stacked(images)
        if key is None:
            return batch
        numbers = (2 * drawn(key, batch, 4) - 1).astype(np.float32)[:, :, None, None, None]  # (B, 4, 1, 1, 1)
        brightness, contrast, saturation = (
            1 + getattr(self, name) * numbers[:, place]
            for place, name in enumerate(("brightness", "contrast", "saturation"))
        )
        x = batch * brightness
        # Whole numbers add up to the same sum in any order, so a row does not depend on its batch.
        mean = (_grey(batch).sum((1, 2, 3)) / (1000 * math.prod(batch.shape[2:]))).astype(np.float32)
        x = mean[:, None, None, None] * brightness * (1 - contrast) + x * contrast
        if batch.shape[1] == 3:
            # Both are linear in the colours of a pixel, one matrix for each image.
            x = _mixed(x, _saturated(saturation[:, 0, 0, 0]) @ _turned(2 * np.pi * self.hue * numbers[:, 3, 0, 0, 0]))
        return np.asarray(np.rint(np.clip(x, 0, 255)), dtype=np.uint8)


def _grey(batch: NDArray[np.uint8]) -> NDArray[np.int64]:
    """A thousand times the grey of each pixel, int64 ``(B, 1, H, W)``."""
    if batch.shape[1] == 1:
        return np.asarray(batch * np.int64(1000))
    return np.asarray((batch * _LUMA[:, None, None]).sum(1, keepdims=True))


def _saturated(factor: NDArray[np.float32]) -> NDArray[np.float64]:
    """Matrices ``(B, 3, 3)`` that scale the difference of a colour from its grey."""
    grey = np.broadcast_to(_LUMA / 1000, (3, 3))
    scale = factor.astype(np.float64)[:, None, None]
    return grey + scale * (np.eye(3) - grey)


def _turned(angle: NDArray[np.float32]) -> NDArray[np.float64]:
    """Matrices ``(B, 3, 3)`` that turn colours in the plane of `_YIQ`."""
    turn = np.zeros((angle.size, 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(angle, dtype=np.float64)
    turn[:, 2, 1] = np.sin(angle, dtype=np.float64)
    turn[:, 1, 2] = -turn[:, 2, 1]
    return np.asarray(np.linalg.inv(_YIQ) @ turn @ _YIQ)


def _mixed(x: NDArray[np.float32], matrices: NDArray[np.float64]) -> NDArray[np.float32]:
    """The three channels of each image multiplied by its matrix, term by term in one order."""
    m = matrices.astype(np.float32)[:, :, :, None, None]  # (B, 3, 3, 1, 1)
    return np.stack([m[:, c, 0] * x[:, 0] + m[:, c, 1] * x[:, 1] + m[:, c, 2] * x[:, 2] for c in range(3)], axis=1)
