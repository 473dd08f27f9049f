"""Pictures of coloured shapes, each with a sentence of a known grammar: for captions, and for finding by words.

A sentence names one shape, ``a small red circle``, or two and where they are, ``a small red circle left of a large blue
square``. It follows from the picture, and a sentence is right or wrong, so a model can reach 100 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...random import Key, uniform
from ..records.memory import GeneratedRecords
from .base import Entry, Files, Prepared

SIZE = 32
"""Height and width of a picture."""
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (240, 210, 50),
    "purple": (150, 60, 180),
    "black": (20, 20, 20),
}
RADII = {"small": 3.5, "large": 6.5}
SHAPES_BY_NAME: dict[str, Callable[[NDArray[Any], NDArray[Any], float], NDArray[np.bool_]]] = {
    "circle": lambda x, y, r: x * x + y * y <= r * r,
    "square": lambda x, y, r: np.maximum(np.abs(x), np.abs(y)) <= 0.85 * r,
    "triangle": lambda x, y, r: (y <= 0.8 * r) & (2 * np.abs(x) <= y + r),
    "cross": lambda x, y, r: (np.minimum(np.abs(x), np.abs(y)) <= 0.3 * r) & (np.maximum(np.abs(x), np.abs(y)) <= r),
}
"""Whether the pixel at (x, y) from the middle, y downwards, is part of a shape of radius r."""
RELATIONS = ("left of", "above")
BACKGROUND = 235
TEXTS = ("a {}", "a picture of a {}", "there is a {} here")
"""Sentences about a single shape."""
COUNTS = {"train": 8192, "validation": 512, "test": 512}
SINGLE_COUNTS = COUNTS | {"train": 4096}


class Shape(NamedTuple):
    """A shape in a picture.

    Attributes:
        size: ``"small"`` or ``"large"``.
        colour: one of `COLOURS`.
        shape: one of `SHAPES_BY_NAME`.
    """

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"a {self.size} {self.colour} {self.shape}"


def shape_records(name: str, count: int, *, most: int = 2, seed: int = 0) -> GeneratedRecords:
    """Pictures with the columns ``image``, ``caption``, ``label``, the colour and shape of the first, and ``count``.

    Args:
        name: of this part; parts with different names have different pictures.
        count: how many pictures.
        most: shapes in a picture, 1, or 2 for one or two.
        seed: seed of all pictures.

    Raises:
        ConfigError: if ``most`` is another number, or ``count`` is below 1.
    """
    if most not in (1, 2):
        raise ConfigError(f"most={most} must be 1 or 2")
    return GeneratedRecords(f"shapes {name}", count, lambda key, index: picture(key, most), seed=seed, most=most)


def picture(key: Key, most: int) -> dict[str, Any]:
    """A picture and its sentence."""
    numbers = uniform(key, (1, 12))[0].tolist()
    first, second = (
        Shape(*map(_chosen, (tuple(RADII), tuple(COLOURS), tuple(SHAPES_BY_NAME)), three))
        for three in (numbers[:3], numbers[3:6])
    )
    count = 1 + int(numbers[6] * most)
    pixels = np.full((SIZE, SIZE, 3), BACKGROUND, dtype=np.uint8)
    if count == 1:
        _draw(pixels, first, _within(0, SIZE, first, numbers[8]), _within(0, SIZE, first, numbers[9]))
        caption = str(first)
    else:
        relation, half = _chosen(RELATIONS, numbers[7]), SIZE // 2
        along = _within(0, half, first, numbers[8]), _within(half, SIZE, second, numbers[10])
        # The picture must tell the relation: apart along one direction, and less than half of that across it.
        aslant = int((2 * numbers[11] - 1) * (along[1] - along[0]) / 2)
        line = _within(0, SIZE, first, numbers[9])
        reach = int(RADII[second.size])
        across = line, min(max(line + aslant, reach), SIZE - 1 - reach)
        for shape, places in zip((first, second), zip(along, across, strict=True), strict=True):
            _draw(pixels, shape, *(places if relation == "left of" else places[::-1]))
        caption = f"{first} {relation} {second}"
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return {"image": image, "caption": caption, "label": f"{first.colour} {first.shape}", "count": count}


def sentences(most: int = 2) -> list[str]:
    """All sentences of the grammar."""
    ones = [str(Shape(size, colour, shape)) for size in RADII for colour in COLOURS for shape in SHAPES_BY_NAME]
    pairs = [f"{one} {relation} {other}" for one in ones for relation in RELATIONS for other in ones]
    return ones + (pairs if most == 2 else [])


def _chosen(choices: tuple[str, ...], number: float) -> str:
    return choices[int(number * len(choices))]


def _within(low: int, high: int, shape: Shape, number: float) -> int:
    """A pixel for the middle of a shape, so that the shape stays between two borders."""
    reach = int(RADII[shape.size])
    return low + reach + int(number * (high - low - 2 * reach))


def _draw(pixels: NDArray[np.uint8], shape: Shape, x: int, y: int) -> None:
    columns, rows = np.arange(SIZE) - x, (np.arange(SIZE) - y)[:, None]
    pixels[SHAPES_BY_NAME[shape.shape](columns, rows, RADII[shape.size])] = COLOURS[shape.colour]


def single_picture(key: Key) -> dict[str, Any]:
    """A picture of one shape: ``caption`` has three texts about it, ``label`` is its name, such as small red circle."""
    found = picture(key, 1)
    name = found["caption"].removeprefix("a ")
    return {"image": found["image"], "caption": [text.format(name) for text in TEXTS], "label": name}


def load_shapes(files: Files) -> Prepared:
    """8,192 pictures to train on, and 512 each for validation and test."""
    return Prepared(*(shape_records(name, size) for name, size in COUNTS.items()))


def load_single_shapes(files: Files) -> Prepared:
    """Pictures of one shape each: 4,096 to train on, and 512 each for validation and test."""
    return Prepared(
        *(
            GeneratedRecords(f"single {name}", size, lambda key, index: single_picture(key))
            for name, size in SINGLE_COUNTS.items()
        )
    )


SHAPES = Entry(
    name="shapes",
    title="generated: pictures of one or two coloured shapes with a sentence",
    licence="none needed: generated",
    get="",
    load=load_shapes,
)
SINGLE_SHAPES = Entry(
    name="single_shapes",
    title="generated: pictures of one of 48 coloured shapes with three texts each",
    licence="none needed: generated",
    get="",
    load=load_single_shapes,
)
