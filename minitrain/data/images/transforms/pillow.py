"""Between arrays and Pillow's images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


def to_pillow(image: NDArray[np.uint8]) -> Image:
    """An image ``(C, H, W)`` for Pillow.

    Raises:
        DataError: if it is not uint8 with 1 or 3 channels.
    """
    from PIL import Image as Pillow

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise DataError(
            f"an image is {image.dtype} {image.shape}, where uint8 (1, H, W) or (3, H, W) is expected: normalise after "
            "all transforms that change pixels"
        )
    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    return Pillow.fromarray(np.ascontiguousarray(pixels))


def from_pillow(image: Image) -> NDArray[np.uint8]:
    """Pillow's image of mode ``"L"`` or ``"RGB"`` as ``(C, H, W)``."""
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
