"""Transforms: a row of a batch depends on the key and its number alone; what each of them may change, and what not."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.data import (
    CenterCrop,
    ColourJitter,
    Compose,
    Normalize,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    Trim,
    channel_statistics,
)
from minitrain.errors import ConfigError, DataError
from minitrain.random import Key
from tests.data.images.made import pixels

KEY = Key.from_seed(5).fold("transform")
RANDOM: dict[str, Any] = {
    "resized": RandomResizedCrop(6),
    "crop": RandomCrop(2, fill=7),
    "affine": RandomAffine(20, 0.3),
    "flip": RandomHorizontalFlip(),
    "jitter": ColourJitter(0.4, 0.4, 0.4, 0.2),
    "erasing": RandomErasing(0.7),
    "randaugment": RandAugment(2, 20),
    "all": Compose([RandomCrop(1), RandomHorizontalFlip(), ColourJitter(0.2), RandomErasing(0.5)]),
}


def batch(count: int, height: int = 8, width: int = 8, channels: int = 3) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


@pytest.mark.parametrize("name", RANDOM)
@given(count=st.integers(1, 5), first=st.integers(0, 2**40), channels=st.sampled_from([1, 3]), data=st.data())
@settings(max_examples=12)
def test_a_row_is_the_same_in_any_split(name: str, count: int, first: int, channels: int, data: st.DataObject) -> None:
    images, transform = batch(count, channels=channels), RANDOM[name]
    before = images.copy()
    whole = transform(images, KEY.at_sample(first))
    assert whole.dtype == np.uint8
    cut = data.draw(st.integers(0, count))
    parts = [
        transform(part, KEY.at_sample(start))
        for start, part in ((first, images[:cut]), (first + cut, images[cut:]))
        if len(part)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", RANDOM)
def test_keys_matter_and_evaluation_draws_nothing(name: str) -> None:
    images, transform = batch(12), RANDOM[name]
    one, other = transform(images, KEY), transform(images, KEY.fold("other"))
    assert (one != other).any()
    calm = transform(images, None)
    np.testing.assert_array_equal(calm, Resize(6)(images, None) if name == "resized" else images)


def test_a_flip_is_a_mirror_image_of_half_of_them() -> None:
    images = batch(400, 3, 4)
    found = RandomHorizontalFlip()(images, KEY)
    mirrored = (found == images[..., ::-1]).all((1, 2, 3))
    assert (mirrored | (found == images).all((1, 2, 3))).all()
    assert 160 < mirrored.sum() < 240
    np.testing.assert_array_equal(RandomHorizontalFlip(1.0)(images, KEY), images[..., ::-1])
    np.testing.assert_array_equal(RandomHorizontalFlip(0.0)(images, KEY), images)


def test_a_crop_moves_by_every_amount() -> None:
    image = np.arange(1, 17, dtype=np.uint8).reshape(1, 1, 4, 4)
    images = np.repeat(image, 300, axis=0)
    found = RandomCrop(1, fill=99)(images, KEY)
    padded = np.pad(image[0, 0], 1, constant_values=99)
    windows = {padded[y : y + 4, x : x + 4].tobytes() for y in range(3) for x in range(3)}
    assert {moved.tobytes() for moved in found} == windows


def test_outside_of_an_image_is_the_colour_of_its_corner() -> None:
    images = np.full((50, 3, 6, 6), 9, np.uint8) * np.arange(1, 4, dtype=np.uint8)[:, None, None]
    for transform in (RandomCrop(2), RandomAffine(45, 0.5)):
        np.testing.assert_array_equal(transform(images, KEY), images)


def test_an_image_is_turned_about_its_middle() -> None:
    quarter = RandomAffine(90).matrix(8, 8, 1.0, 0.0, 0.0)
    a, b, c, d, e, f = quarter
    assert (a * 4 + b * 4 + c, d * 4 + e * 4 + f) == pytest.approx((4, 4))
    assert (a * 8 + b * 4 + c, d * 8 + e * 4 + f) == pytest.approx((4, 0))  # its right side shows what was above
    found = RandomAffine(180)(np.repeat(batch(1, 9, 9), 200, axis=0), KEY)
    assert len({image.tobytes() for image in found}) > 190  # every angle is another image
    assert len(np.unique(found[:, 0, 4, 4])) == 1  # the middle stays


@given(across=st.floats(-1, 1), down=st.floats(-1, 1), turn=st.floats(-1, 1))
def test_the_area_of_an_image_is_stretched_by_both_factors(across: float, down: float, turn: float) -> None:
    a, b, _, d, e, _ = RandomAffine(30, 0.25).matrix(10, 6, turn, across, down)
    assert a * e - b * d == pytest.approx(1.25 ** -(across + down))  # the map goes from output to input
    assert 1 / 1.25 - 1e-9 <= np.hypot(a, b) <= 1.25 + 1e-9


@given(
    top=st.integers(0, 6),
    left=st.integers(0, 6),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    colour=st.integers(0, 255),
)
def test_trim_leaves_the_square_around_a_drawing(top: int, left: int, height: int, width: int, colour: int) -> None:
    image = np.full((3, 18, 17), colour, np.uint8)
    drawing = pixels(height, width)
    drawing[0] = (colour + 128) % 256  # differs from the background everywhere
    image[:, 1 + top : 1 + top + height, 1 + left : 1 + left + width] = drawing
    (found,) = Trim()([image], None)
    side = max(height, width) + 2
    assert found.shape == (3, side, side)
    above, before = (side - height) // 2, (side - width) // 2
    np.testing.assert_array_equal(found[:, above : above + height, before : before + width], drawing)
    assert (found == colour).all(0).sum() == side**2 - height * width
    np.testing.assert_array_equal(Trim()([image], KEY)[0], found)
    empty = image * 0
    assert Trim()([empty], None)[0] is empty
    np.testing.assert_array_equal(Trim(255)([image], None)[0], image)


@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 20))
@settings(max_examples=40)
def test_a_part_lies_in_the_image_and_has_area_and_aspect(height: int, width: int, size: int) -> None:
    image = pixels(height, width)
    crop = RandomResizedCrop(size, area=(0.2, 0.9), aspect=(0.5, 2.0))
    left, top, right, bottom = crop.box(image, np.random.default_rng(size).random((10, 4)))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    w, h = right - left, bottom - top
    middle = min(height, width)
    assert (w == h == middle) or (
        (w - 0.5) * (h - 0.5) <= 0.9 * width * height and 0.2 * width * height <= (w + 0.5) * (h + 0.5)
    )
    assert crop([image], KEY).shape == (1, 3, size, size)


def test_sizes_are_set_first() -> None:
    images = [pixels(9, 14), pixels(20, 6)]
    assert Resize(6)(images, None).shape == (2, 3, 6, 6)
    flat = [np.full((1, 7, 13), 40, np.uint8)]
    assert (RandomResizedCrop(5)(flat, KEY) == 40).all()
    np.testing.assert_array_equal(Resize(6)(batch(2, 6, 6), None), batch(2, 6, 6))
    wide = np.zeros((1, 1, 4, 8), np.uint8)
    wide[..., 2:6] = 200  # the middle
    assert (Resize(4)(wide, None) == 200).all()
    assert (CenterCrop(4)(wide, None) == 200).all()
    with pytest.raises(DataError, match="cannot be one batch: begin the transforms with one that sets the size"):
        RandomHorizontalFlip()(images, KEY)
    with pytest.raises(ConfigError, match="4 x 8, whose shorter side=4 must be at least 5"):
        CenterCrop(5)(wide, None)
    with pytest.raises(DataError, match=r"shape \(3, 9, 14\)"):
        RandomHorizontalFlip()(images[0], KEY)


def test_jitter_changes_what_it_says() -> None:
    grey = np.full((200, 1, 2, 2), 100, np.uint8)
    bright = ColourJitter(brightness=0.3)(grey, KEY)
    assert (bright == bright[:, :, :1, :1]).all()
    assert 70 <= bright.min() < 75 < 125 < bright.max() <= 130
    np.testing.assert_array_equal(ColourJitter(contrast=0.5, saturation=0.5, hue=0.5)(grey, KEY), grey)
    halves = np.zeros((200, 1, 2, 2), np.uint8) + np.array([50, 150], np.uint8)
    spread = ColourJitter(contrast=0.5)(halves, KEY).astype(int)
    assert (spread.sum((1, 2, 3)) == 400).all()  # the mean stays
    assert 50 <= (spread[..., 1] - spread[..., 0]).min() < 60 < 140 < (spread[..., 1] - spread[..., 0]).max() <= 150
    red = np.zeros((200, 3, 1, 1), np.uint8)
    red[:, 0] = 200
    faded = ColourJitter(saturation=1.0)(red, KEY)[:, :, 0, 0].astype(int)
    luma = (faded @ [299, 587, 114]) / 1000
    assert np.abs(luma - 59.8)[(faded.max(1) < 255) & (faded.min(1) > 0)].max() < 1  # its grey stays
    turned = ColourJitter(hue=0.5)(np.full((200, 3, 1, 1), 90, np.uint8) + red // 4, KEY)[:, :, 0, 0]
    hues = {round(6 * colorsys.rgb_to_hsv(*colour)[0]) % 6 for colour in turned.tolist()}
    assert len(hues) >= 5


def test_erasing_fills_a_rectangle_of_the_right_size() -> None:
    images = np.full((300, 3, 20, 20), 200, np.uint8)
    found = RandomErasing(0.5, area=(0.1, 0.2), aspect=(0.5, 2.0), fill=9)(images, KEY)
    erased = found[:, 0] == 9
    assert (found == np.where(erased[:, None], 9, 200)).all()
    sizes = erased.sum((1, 2))
    assert 110 < (sizes > 0).sum() < 190
    assert 28 <= sizes[sizes > 0].min() < 50 < 70 < sizes.max() <= 96
    rows, columns = erased.any(2), erased.any(1)
    np.testing.assert_array_equal(erased, rows[:, :, None] & columns[:, None, :])


def test_randaugment_is_stronger_when_told() -> None:
    images = np.repeat(pixels(16, 16)[None] // 2 + 60, 60, axis=0)
    weak, strong = (np.abs(RandAugment(1, m)(images, KEY).astype(int) - images).mean() for m in (2, 28))
    assert weak < strong


def test_normalising_and_exact_statistics() -> None:
    images = [pixels(5, 7, 3, seed=s) for s in range(4)] + [pixels(9, 2, 3, seed=9)]
    found = channel_statistics(iter(images))
    joined = np.concatenate([image.reshape(3, -1) for image in images], axis=1) / 255
    np.testing.assert_allclose(found.mean, joined.mean(1), rtol=1e-12)
    np.testing.assert_allclose(found.std, joined.std(1), rtol=1e-12)
    normal = found(np.stack(images[:4]), KEY)
    assert normal.dtype == np.float32
    expected = (np.stack(images[:4]) / 255 - joined.mean(1)[:, None, None]) / joined.std(1)[:, None, None]
    np.testing.assert_allclose(normal, expected, atol=1e-5)
    large = [np.full((1, 1000, 1000), 255, np.uint8)] * 3 + [np.full((1, 1, 1), 254, np.uint8)]
    np.testing.assert_allclose(channel_statistics(large).std[0], np.sqrt(3e6) / 3000001 / 255, rtol=1e-9)
    with pytest.raises(DataError, match="the same value everywhere"):
        channel_statistics([np.zeros((1, 3, 3), np.uint8)])
    with pytest.raises(DataError, match="no images"):
        channel_statistics([])
    with pytest.raises(DataError, match="same C for all"):
        channel_statistics([pixels(2, 2, 3), pixels(2, 2, 1)])
    with pytest.raises(DataError, match="has 1 channels and expects uint8"):
        Normalize()(batch(1), None)
    with pytest.raises(DataError, match="normalise after all transforms"):
        Compose([Normalize((0.5,) * 3, (0.5,) * 3), Resize(4)])(batch(1), None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Resize(0),
        lambda: CenterCrop(0),
        lambda: RandomCrop(-1),
        lambda: RandomHorizontalFlip(1.5),
        lambda: RandomAffine(181),
        lambda: RandomAffine(stretch=-0.1),
        lambda: Trim(256),
        lambda: RandomResizedCrop(4, area=(0.9, 0.1)),
        lambda: RandomResizedCrop(4, aspect=(0.0, 1.0)),
        lambda: ColourJitter(brightness=2),
        lambda: ColourJitter(hue=0.6),
        lambda: RandomErasing(area=(0.1, 1.5)),
        lambda: RandAugment(0),
        lambda: RandAugment(2, 31),
        lambda: Normalize((0.5,), (0.0,)),
        lambda: Normalize((0.5, 0.5), (1.0,)),
    ],
)
def test_settings_that_are_none(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"must be|need"):
        make()
