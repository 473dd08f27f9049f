"""Image files from anywhere: the right pixels, or a clear refusal."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minitrain.data import decode_image
from minitrain.errors import ConfigError, DataError
from tests.data.images.made import encoded, pixels, png_that_claims


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_saved_without_loss_comes_back(form: str, channels: int) -> None:
    image = pixels(7, 4, channels)
    options = {"lossless": True} if form == "WEBP" else {}
    found = decode_image(encoded(image, form, **options), mode="L" if channels == 1 else "RGB")
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, image)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_other_modes_become_colour_or_grey() -> None:
    grey = pixels(3, 3, 1)
    np.testing.assert_array_equal(decode_image(encoded(grey)), np.repeat(grey, 3, axis=0))
    assert decode_image(encoded(pixels()), mode="L").shape == (1, 6, 5)
    assert decode_image(saved(Image.new("CMYK", (2, 3), (0, 255, 255, 0)), "JPEG")).shape == (3, 3, 2)
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert decode_image(saved(palette))[:, 0, 0].tolist() == [200, 100, 50]
    wide = Image.fromarray(np.array([[0, 256, 65535]], dtype=np.uint16))
    assert decode_image(saved(wide), mode="L")[0].tolist() == [[0, 1, 255]]
    assert decode_image(saved(Image.new("1", (1, 1), 1)), mode="L")[0].tolist() == [[255]]


def test_transparent_pixels_get_the_background() -> None:
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    assert decode_image(saved(clear))[:, 0].T.tolist() == [[255, 0, 0], [255, 255, 255]]
    assert decode_image(saved(clear), background=0, mode="L")[0, 0].tolist() == [76, 0]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert decode_image(saved(palette, transparency=1))[:, 0, 0].tolist() == [255, 255, 255]


def test_an_image_is_turned_as_its_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned right
    image = pixels(2, 3)
    np.testing.assert_array_equal(decode_image(encoded(image, exif=exif)), np.rot90(image, -1, axes=(1, 2)))


def test_hostile_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"100000 x 600 pixels, more than max_pixels=50,000,000"):
        decode_image(png_that_claims(100000, 600), max_pixels=50_000_000)
    for size in (20_000, 60_000):  # Pillow warns of the first and refuses the second
        with pytest.raises(DataError, match=r"more .* max_pixels"):
            decode_image(png_that_claims(size, size))
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    for form in ("GIF", "WEBP", "PNG"):
        with pytest.raises(DataError, match="animated"):
            decode_image(saved(frames[0], form, save_all=True, append_images=frames[1:]))
    for content in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"<svg/>", saved(frames[0], "TIFF"), png_that_claims(9, 9)):
        with pytest.raises(DataError, match="cannot be decoded"):
            decode_image(content)
    with pytest.raises(ConfigError, match="mode='RGBA'"):
        decode_image(b"", mode="RGBA")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_a_truncated_image_is_refused(form: str) -> None:
    content = encoded(pixels(40, 40), form)
    for size in (len(content) // 3, len(content) // 2):
        with pytest.raises(DataError, match="cannot be decoded"):
            decode_image(content[:size])


@given(form=st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF"]), data=st.data())
@settings(max_examples=150)
def test_a_damaged_image_is_decoded_or_refused_and_nothing_else(form: str, data: st.DataObject) -> None:
    content = bytearray(encoded(pixels(8, 8), form))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_image(bytes(content), max_pixels=10_000)
    except DataError:
        return
    assert found.dtype == np.uint8
    assert len(found) == 3
