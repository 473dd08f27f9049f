"""Decodes an image file that someone else made into an array, or says why not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError

MODES = {"RGB": 3, "L": 1}
"""Colour and grey, and their numbers of channels."""
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
MAX_PIXELS = 1 << 26
"""A larger image is refused, 67 million pixels: a small file can claim a giant one."""
MAX_FILE_BYTES = 1 << 28
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # the decoders of other formats are less tested
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")

Image = NDArray[np.uint8]
"""``(C, H, W)`` uint8."""


def checked_mode(mode: str) -> str:
    """``mode``, which must be ``"RGB"`` or ``"L"``.

    Raises:
        ConfigError: if it is not.
    """
    if mode not in MODES:
        raise ConfigError(f"mode={mode!r} must be 'RGB' for colour or 'L' for grey")
    return mode


def decode_image(
    content: bytes, *, mode: str = "RGB", max_pixels: int = MAX_PIXELS, background: int = 255
) -> NDArray[np.uint8]:
    """The pixels of an image file: PNG, JPEG, WebP, BMP or GIF.

    The image is turned as its EXIF data says. Transparent pixels get the background. Other modes become colour or
    grey; 16 bits become 8.

    Args:
        content: the bytes of the file.
        mode: ``"RGB"`` or ``"L"``.
        max_pixels: an image with more is refused before it is decoded.
        background: grey behind transparent pixels, from 0 to 255.

    Returns:
        ``(3, H, W)`` or ``(1, H, W)`` uint8.

    Raises:
        ConfigError: if the mode is unknown.
        DataError: if the file is damaged, truncated, animated, too large, or none of these.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    checked_mode(mode)
    try:
        with Pillow.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise DataError(
                    f"the image has {image.width} x {image.height} pixels, more than max_pixels={max_pixels:,}"
                )
            if getattr(image, "is_animated", False):
                raise DataError("the image is animated: give one frame of it")
            image.load()
            pixels = np.asarray(_converted(ImageOps.exif_transpose(image), mode, background))
    except DataError:
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise DataError(f"the image has more pixels than max_pixels={max_pixels:,}") from error
    except Exception as error:  # a damaged file can end a decoder with any of them
        raise DataError(f"the image cannot be decoded: {type(error).__name__}: {error!s:.100}") from error
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(planes, dtype=np.uint8)


def _converted(image: Any, mode: str, background: int) -> Any:
    from PIL import Image as Pillow

    if image.mode in _WIDE:
        image = Pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise DataError(f"the image has mode {image.mode}, numbers without a known largest one: save it with 8 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, (background, background, background, 255)), image)
    return image if image.mode == mode else image.convert(mode)


def checked_array(images: Any) -> NDArray[np.uint8]:
    """``images`` as uint8 ``(N, C, H, W)``, from ``(N, H, W)``, ``(N, H, W, C)`` with C 1 or 3.

    Raises:
        DataError: if they are not uint8, or have another shape.
    """
    array = np.asarray(images)
    if array.dtype != np.uint8:
        raise DataError(
            f"images are {array.dtype}, and must be uint8 from 0 to 255: numpy.rint(255 * images).astype('uint8')"
        )
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        raise DataError(f"images have shape {array.shape}; expected (N, H, W), or (N, H, W, C) with C = 1 or 3")
    return array.transpose(0, 3, 1, 2)
