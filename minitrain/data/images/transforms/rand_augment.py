"""Some random changes of one strength (RandAugment; Cubuk et al., 2019, arXiv:1909.13719)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ....errors import ConfigError
from ....random import Key
from .base import Images, check_size, drawn, stacked
from .pillow import from_pillow, to_pillow

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 30
"""The strength at which a change is as large as it gets."""


@dataclass(frozen=True)
class RandAugment:
    """Apply ``count`` changes to each image, drawn from the fourteen of the paper.

    Those with a direction go either way at random. Pixels that come in from outside are grey. In evaluation it changes
    nothing.

    Attributes:
        count: changes of an image.
        strength: from 0 to 30.
    """

    count: int = 2
    strength: int = 9

    def __post_init__(self) -> None:
        check_size("count", self.count)
        if not 0 <= self.strength <= LARGEST:
            raise ConfigError(f"strength={self.strength} must be from 0 to {LARGEST}")

    def __call__(self, images: Images, key: Key | None, /) -> NDArray[Any]:
        """The changed images, uint8."""
        batch = stacked(images)
        if key is None:
            return batch
        changed = np.empty_like(batch)
        for row, numbers in enumerate(drawn(key, batch, 2 * self.count)):
            image = to_pillow(batch[row])
            for change, direction in numbers.reshape(-1, 2).tolist():
                strength = self.strength / LARGEST
                image = CHANGES[int(change * len(CHANGES))](image, strength if direction < 0.5 else -strength)
            changed[row] = from_pillow(image)
        return changed


def _grey(image: Image) -> Any:
    return 128 if image.mode == "L" else (128, 128, 128)


def _affine(image: Image, matrix: tuple[float, ...]) -> Image:
    from PIL import Image as Pillow

    return image.transform(
        image.size, Pillow.Transform.AFFINE, matrix, Pillow.Resampling.BILINEAR, fillcolor=_grey(image)
    )


def _same(image: Image, amount: float) -> Image:
    return image


def _auto_contrast(image: Image, amount: float) -> Image:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _equalize(image: Image, amount: float) -> Image:
    from PIL import ImageOps

    return ImageOps.equalize(image)


def _rotate(image: Image, amount: float) -> Image:
    from PIL import Image as Pillow

    return image.rotate(30 * amount, Pillow.Resampling.BILINEAR, fillcolor=_grey(image))


def _solarize(image: Image, amount: float) -> Image:
    from PIL import ImageOps

    return ImageOps.solarize(image, round(256 * (1 - abs(amount))))


def _posterize(image: Image, amount: float) -> Image:
    from PIL import ImageOps

    return ImageOps.posterize(image, 8 - round(4 * abs(amount)))


def _colour(image: Image, amount: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Color(image).enhance(1 + 0.9 * amount)


def _contrast(image: Image, amount: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Contrast(image).enhance(1 + 0.9 * amount)


def _brightness(image: Image, amount: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Brightness(image).enhance(1 + 0.9 * amount)


def _sharpness(image: Image, amount: float) -> Image:
    from PIL import ImageEnhance

    return ImageEnhance.Sharpness(image).enhance(1 + 0.9 * amount)


CHANGES: tuple[Callable[[Image, float], Image], ...] = (
    _same,
    _auto_contrast,
    _equalize,
    _rotate,
    _solarize,
    _posterize,
    _colour,
    _contrast,
    _brightness,
    _sharpness,
    lambda image, amount: _affine(image, (1, 0.3 * amount, 0, 0, 1, 0)),  # shear along each axis
    lambda image, amount: _affine(image, (1, 0, 0, 0.3 * amount, 1, 0)),
    lambda image, amount: _affine(image, (1, 0, 0.45 * amount * image.width, 0, 1, 0)),  # move along each axis
    lambda image, amount: _affine(image, (1, 0, 0, 0, 1, 0.45 * amount * image.height)),
)
"""Changes by an amount from -1 to 1."""
