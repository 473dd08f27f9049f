"""What a classifier keeps of its data: the names of the classes, and how an input becomes an array."""

from __future__ import annotations

import json
import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...data import Classes, Normalize, Records, Tokenizer, channel_statistics, tokenizer_from_json
from ...data import train_bpe_tokenizer as train_bpe
from ...data.images.decode import MODES, checked_mode, decode_image
from ...data.images.folder import read_image_file
from ...data.images.transforms.geometry import Resize
from ...data.loading.batches import PaddedBatch
from ...data.text.bpe import MOST_CONTAINERS
from ...data.text.tokenizers import ByteTokenizer
from ...errors import DataError, MinitrainError
from ...files import parse_json
from ...folder import RunFolder
from ...folder.names import PROCESSOR
from ..settings.labels import ImagesConfig, LabelledTextConfig

LOOKED_AT = 10_000
"""Images, spread over the training data, that the normalisation is computed from."""
READ = 100_000
"""Texts, spread over the training data, that a tokenizer is made from."""
LARGEST_SIZE = 4096


class Processor(ABC):
    """The names of the classes, and what makes an array of an input.

    Attributes:
        classes: the classes in the order of their numbers.
    """

    kind: ClassVar[str]
    classes: Classes

    @abstractmethod
    def read(self, text: str) -> PaddedBatch | tuple[NDArray[np.float32], None, None]:
        """A batch of the one input that a user gives: inputs, no targets, and lengths if there is padding.

        Raises:
            DataError: if it is no input for the model.
        """

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All but the classes, as JSON can hold it."""

    def save(self, folder: RunFolder) -> None:
        """Write it into a run folder."""
        kept = {"kind": self.kind, "classes": list(self.classes), **self.to_json()}
        folder.write(PROCESSOR, json.dumps(kept).encode() + b"\n")


@dataclass(frozen=True, eq=False)
class ImageProcessor(Processor):
    """Makes arrays of images.

    Attributes:
        classes: the classes.
        size: height and width.
        normalize: mean and deviation of each channel over the training data.
    """

    kind: ClassVar[str] = "images"
    classes: Classes
    size: int
    normalize: Normalize

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return len(self.normalize.mean)

    def read(self, text: str) -> tuple[NDArray[np.float32], None, None]:
        """The image in a file, float32 (1, C, size, size)."""
        path = Path(os.path.expanduser(text))
        if not path.is_file():
            raise DataError(f"there is no image {path}: this model classifies images, so give the path of one")
        mode = next(mode for mode, channels in MODES.items() if channels == self.channels)
        image = decode_image(read_image_file(path), mode=checked_mode(mode))
        return self.normalize(Resize(self.size)([image], None), None), None, None

    def to_json(self) -> dict[str, Any]:
        """Size, mean and deviation."""
        return {"size": self.size, "mean": list(self.normalize.mean), "std": list(self.normalize.std)}

    @classmethod
    def from_json(cls, classes: Classes, kept: dict[str, Any]) -> ImageProcessor:
        """What `to_json` described; raises ``ValueError`` and others if it is damaged."""
        size, mean, std = kept["size"], kept["mean"], kept["std"]
        if type(size) is not int or not 1 <= size <= LARGEST_SIZE:
            raise ValueError(f"size={size!r:.50} must be from 1 to {LARGEST_SIZE}")
        if not all(type(x) in (int, float) and math.isfinite(x) for x in (*mean, *std)) or len(mean) not in (1, 3):
            raise ValueError("mean and std must be 1 or 3 numbers each")
        return cls(classes, size, Normalize(tuple(map(float, mean)), tuple(map(float, std))))


@dataclass(frozen=True, eq=False)
class TextProcessor(Processor):
    """Makes arrays of texts.

    Attributes:
        classes: the classes.
        tokenizer: turns texts into tokens.
        block_size: the longest text, in tokens.
    """

    kind: ClassVar[str] = "labelled_text"
    classes: Classes
    tokenizer: Tokenizer
    block_size: int

    def read(self, text: str) -> PaddedBatch:
        """The tokens of a text (1, T), cut to the longest one."""
        ids = self.tokenizer.encode(text)[: self.block_size]
        if not len(ids):
            raise DataError("the text is empty: there is nothing to classify")
        return PaddedBatch(ids[None], np.zeros(1, np.int32), np.array([len(ids)], np.int32))

    def to_json(self) -> dict[str, Any]:
        """Tokenizer and length."""
        return {"tokenizer": self.tokenizer.to_json(), "block_size": self.block_size}

    @classmethod
    def from_json(cls, classes: Classes, kept: dict[str, Any]) -> TextProcessor:
        """What `to_json` described; raises ``ValueError`` and others if it is damaged."""
        length = kept["block_size"]
        if type(length) is not int or not 1 <= length < 1 << 31:
            raise ValueError(f"block_size={length!r:.50} must be 1 or more")
        return cls(classes, tokenizer_from_json(kept["tokenizer"]), length)


def load_processor(folder: RunFolder) -> Processor:
    """The processor in a run folder.

    Raises:
        DataError: if it is damaged.
    """
    try:
        kept = parse_json(folder.read(PROCESSOR), containers=MOST_CONTAINERS)
        names = kept["classes"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("classes must be a list of names")
        kind = {one.kind: one for one in (ImageProcessor, TextProcessor)}[kept["kind"]]
        return kind.from_json(Classes(names), kept)
    except (ValueError, KeyError, TypeError, OverflowError, MinitrainError) as error:
        raise DataError(f"{folder.path / PROCESSOR} is damaged: {error}") from error


def build_processor(data: ImagesConfig | LabelledTextConfig, train: Records) -> Processor:
    """The processor that settings ask for, made from the training data.

    Raises:
        DataError: if there are fewer than two classes, or nothing to normalise by.
    """
    classes = Classes.of(train, "label")
    if len(classes) < 2:
        raise DataError(f"all training data is of the class {classes.names[0]!r}: there is nothing to tell apart")
    if isinstance(data, LabelledTextConfig):
        return TextProcessor(classes, _tokenizer(data, train), data.block_size)
    first = train[0]["image"]
    if data.size is None and first.shape[1] != first.shape[2]:
        raise DataError(
            f"the first image has {first.shape[1]} x {first.shape[2]} pixels, and the model takes squares: give "
            "data.size=PIXELS, which scales the shorter side and cuts the middle out"
        )
    normalize = channel_statistics(train[row]["image"] for row in _spread(len(train), LOOKED_AT))
    return ImageProcessor(classes, data.size or first.shape[1], normalize)


def _tokenizer(data: LabelledTextConfig, train: Records) -> Tokenizer:
    if data.tokenizer == "byte":
        return ByteTokenizer()
    return train_bpe([train[row]["text"] for row in _spread(len(train), READ)], vocab_size=data.vocab_size)


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` indices below ``count``, evenly spread."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).astype(int).tolist()
