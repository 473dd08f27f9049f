"""Images with texts: what a run keeps of them, the samples, and batches to evaluate on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...data import ImageTextPairs, Records, Tokenizer, tokenizer_from_json
from ...data.encoded.overlong import texts_in
from ...data.images.captions import read_captions
from ...data.text.bpe import MOST_CONTAINERS
from ...errors import DataError, MinitrainError
from ...files import parse_json
from ...folder import RunFolder
from ...folder.names import PROCESSOR
from ..settings.captions import CaptionsConfig
from ..task import Prepared, TaskSettings
from .labelled import transform_of
from .pairs import make_tokenizer, with_specials
from .pictures import Pictures
from .split import RecordSplit, check_fingerprints, check_there, open_split

FRAME = 2
"""Tokens around a text: its start and its end."""


@dataclass(frozen=True, eq=False)
class CaptionProcessor:
    """Makes arrays of images and of texts.

    Attributes:
        pictures: of images.
        tokenizer: of texts.
        block_size: the longest text, in tokens.
    """

    pictures: Pictures
    tokenizer: Tokenizer
    block_size: int

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        texts = {"tokenizer": self.tokenizer.to_json(), "block_size": self.block_size}
        return {"kind": "captions", **self.pictures.to_json(), **texts}

    def save(self, folder: RunFolder) -> None:
        """Write it into a run folder."""
        folder.write(PROCESSOR, json.dumps(self.to_json()).encode() + b"\n")

    @classmethod
    def load(cls, folder: RunFolder) -> CaptionProcessor:
        """Read it from a run folder.

        Raises:
            DataError: if it is damaged.
        """
        try:
            kept = parse_json(folder.read(PROCESSOR), containers=MOST_CONTAINERS)
            length = kept["block_size"]
            if type(length) is not int or not 1 <= length < 1 << 31:
                raise ValueError(f"block_size={length!r:.50} must be 1 or more")
            return cls(Pictures.from_json(kept), with_specials(tokenizer_from_json(kept["tokenizer"])), length)
        except (ValueError, KeyError, TypeError, OverflowError, MinitrainError) as error:
            raise DataError(f"{folder.path / PROCESSOR} is damaged: {error}") from error


class CaptionSplit(NamedTuple):
    """The data of a model of images and texts: to train on and to be measured on.

    Attributes:
        records: the source of the samples.
        train: to train on.
        val: held out; the evaluations during a training use it.
        test: the test set, for the finished model.
    """

    records: RecordSplit
    train: ImageTextPairs
    val: ImageTextPairs
    test: ImageTextPairs


class CaptionBatch(NamedTuple):
    """A batch of images and texts to evaluate on.

    Attributes:
        images: (B, C, H, W).
        texts: (B, T) int32 token ids of the first text of each image, then padding.
        lengths: (B,) int32, number of tokens in each text.
        groups: (B,) int64, equal for equal texts.
        references: all texts of each image.
    """

    images: NDArray[Any]
    texts: NDArray[np.int32]
    lengths: NDArray[np.int32]
    groups: NDArray[np.int64]
    references: list[list[str]]


def prepare_captions(
    config: TaskSettings, processor: CaptionProcessor | None, folder: RunFolder | None = None, *, framed: bool
) -> Prepared:
    """Images and texts as settings say.

    Args:
        config: the settings.
        processor: that of a run; ``None`` makes one of the training data.
        folder: of the run that is continued, whose records they must be.
        framed: whether to put a start and an end token around each text, for a model that writes captions.

    Raises:
        DataError: if data is missing, damaged, too small, or another than that of the run.
    """
    data: CaptionsConfig = config.data
    check_there(data)
    records = open_split(data, lambda path: read(data, path), seed=config.seed)
    if folder is not None:
        check_fingerprints(records, folder)
    if processor is None:
        tokenizer = make_tokenizer(data.tokenizer, _all_texts(records.train), data.vocab_size)
        processor = CaptionProcessor(Pictures.of(data, records.train), tokenizer, data.block_size)
    processor = replace(processor, block_size=data.block_size)
    return Prepared(processor, split_of(records, data, processor, framed=framed))


def read(data: CaptionsConfig, path: str) -> Records:
    """The records at a path; see `read_captions`."""
    how: dict[str, Any] = {"broken": data.broken, "max_broken": data.max_broken}
    return read_captions(path, file=data.file, caption=data.caption, label=data.label, mode=data.mode, **how)


def split_of(records: RecordSplit, data: CaptionsConfig, processor: CaptionProcessor, *, framed: bool) -> CaptionSplit:
    """The samples of records.

    Raises:
        DataError: if a text cannot be used, or too many records are broken.
    """
    made: dict[int, ImageTextPairs] = {}  # records that serve twice are looked at once
    for part in records:
        if id(part) not in made:
            made[id(part)] = ImageTextPairs(
                part,
                processor.tokenizer,
                transform=transform_of(data, processor.pictures),
                max_tokens=processor.block_size - FRAME * framed,
                overlong=data.overlong,
                framed=framed,
                broken=data.broken,
                max_broken=data.max_broken,
            )
    return CaptionSplit(records, *(made[id(part)] for part in records))


class EvaluationCaptions:
    """Images and texts in batches, each image once, with its first text.

    Args:
        samples: the samples.
        batch_size: samples in a batch.
    """

    def __init__(self, samples: ImageTextPairs, batch_size: int) -> None:
        self.samples, self.batch_size = samples, batch_size

    def __iter__(self) -> Iterator[CaptionBatch]:
        return self._batches(np.arange(len(self.samples)))

    def spread(self, count: int) -> Iterator[CaptionBatch]:
        """``count`` batches of samples that are spread evenly."""
        most = min(count * self.batch_size, len(self.samples))
        return self._batches(np.linspace(0, len(self.samples) - 1, most).astype(int))

    def _batches(self, rows: NDArray[np.int64]) -> Iterator[CaptionBatch]:
        for start in range(0, len(rows), self.batch_size):
            found = [self.samples[row] for row in rows[start : start + self.batch_size].tolist()]
            batch = self.samples.collate(found)
            yield CaptionBatch(batch.images, batch.texts, batch.lengths, batch.groups, [one.texts for one in found])


def texts_of(samples: ImageTextPairs, index: int) -> list[str]:
    """All texts of a sample, without its image."""
    return texts_in(samples.records.without_image(int(samples.rows[index]))[samples.text.column])


def _all_texts(records: Records) -> list[str]:
    texts = [text for i in range(len(records)) for text in texts_in(records.without_image(i)["caption"])]
    return [text for text in texts if isinstance(text, str)]
