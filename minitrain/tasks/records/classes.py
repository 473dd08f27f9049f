"""The processor of a classifier: the names of the classes, and how an input becomes an array."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...data import Classes, Records, Tokenizer, tokenizer_from_json
from ...data import train_bpe_tokenizer as train_bpe
from ...data.loading.batches import PaddedBatch
from ...data.text.bpe import MOST_CONTAINERS
from ...data.text.tokenizers import ByteTokenizer
from ...errors import DataError, MinitrainError
from ...files import parse_json
from ...folder import RunFolder
from ...folder.names import PROCESSOR
from ..settings.labels import ImagesConfig, LabelledTextConfig
from .pictures import Pictures, spread

READ = 100_000
"""Texts, spread over the training data, that a tokenizer is made from."""


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
        pictures: the size and the normalisation.
    """

    kind: ClassVar[str] = "images"
    classes: Classes
    pictures: Pictures

    def read(self, text: str) -> tuple[NDArray[np.float32], None, None]:
        """The image in a file, float32 (1, C, size, size)."""
        return self.pictures.read(text), None, None

    def to_json(self) -> dict[str, Any]:
        """Size, mean and deviation."""
        return self.pictures.to_json()

    @classmethod
    def from_json(cls, classes: Classes, kept: dict[str, Any]) -> ImageProcessor:
        """The inverse of `to_json`; raises ``ValueError`` and others if it is damaged."""
        return cls(classes, Pictures.from_json(kept))


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
        """The inverse of `to_json`; raises ``ValueError`` and others if it is damaged."""
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
    return ImageProcessor(classes, Pictures.of(data, train))


def _tokenizer(data: LabelledTextConfig, train: Records) -> Tokenizer:
    if data.tokenizer == "byte":
        return ByteTokenizer()
    return train_bpe([train[row]["text"] for row in spread(len(train), READ)], vocab_size=data.vocab_size)
