"""Samples with a class each: opened as settings say, with the transforms of training, and in batches to evaluate on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...data import (
    BucketLoader,
    ColourJitter,
    Column,
    Compose,
    LabelledFolder,
    LabelledImages,
    LabelledTexts,
    PrefetchLoader,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Records,
    Resize,
    Transform,
    Trim,
    read_records,
)
from ...data.encoded.image_samples import ImageSamples
from ...data.images.read import read_images
from ...data.images.records import in_threads
from ..settings.labels import ImagesConfig, LabelledTextConfig
from ..settings.pictures import PicturesConfig
from ..task import TaskSettings
from .classes import ImageProcessor, Processor, TextProcessor
from .pictures import Pictures
from .split import RecordSplit

Samples = LabelledImages | LabelledTexts


class LabelledSplit(NamedTuple):
    """The data of a classifier: to train on and to be measured on.

    Attributes:
        records: the source of the samples.
        train: to train on.
        val: held out; the evaluations during a training use it.
        test: the test set, for the finished model.
    """

    records: RecordSplit
    train: Samples
    val: Samples
    test: Samples


def read_labelled(data: ImagesConfig | LabelledTextConfig, path: str) -> Records:
    """The records at a path, with the columns ``label`` and ``image`` or ``text``.

    Raises:
        ConfigError: if their format is unknown.
        DataError: if they cannot be read, or too many are broken.
    """
    how: dict[str, Any] = {"broken": data.broken, "max_broken": data.max_broken}
    if isinstance(data, ImagesConfig):
        return read_images(path, file=data.file, label=data.label, mode=data.mode, **how)
    if Path(path).expanduser().is_dir():
        return LabelledFolder(path, **how)
    return read_records(path, {"text": data.text, "label": Column(data.label, "label")}, **how)


def make_split(records: RecordSplit, data: Any, processor: Processor) -> LabelledSplit:
    """The samples of records.

    Raises:
        DataError: if a class is not one of the processor's, a text cannot be used, or too many records are broken.
    """
    made: dict[int, Samples] = {}  # records that serve twice are looked at once
    for part in records:
        if id(part) not in made:
            made[id(part)] = _samples(part, data, processor)
    return LabelledSplit(records, *(made[id(part)] for part in records))


def _samples(records: Records, data: Any, processor: Processor) -> Samples:
    how: dict[str, Any] = {"broken": data.broken, "max_broken": data.max_broken}
    if isinstance(processor, ImageProcessor):
        return LabelledImages(records, processor.classes, transform=transform_of(data, processor.pictures), **how)
    assert isinstance(processor, TextProcessor)
    length = {"max_tokens": processor.block_size, "overlong": data.overlong}
    return LabelledTexts(records, processor.tokenizer, processor.classes, **length, **how)


def transform_of(data: PicturesConfig, pictures: Pictures) -> Transform:
    """The transforms of images: random in training, and nothing but size and normalisation in an evaluation."""
    size = pictures.size
    sized = Resize(size) if data.zoom == 1 else RandomResizedCrop(size, area=(data.zoom, 1.0))
    first = [Trim(), sized] if pictures.trim else [sized]
    colour = data.colour
    grey = round(255 * float(np.mean(pictures.normalize.mean)))
    chosen: list[tuple[Any, Transform]] = [
        (data.turn or data.stretch, RandomAffine(data.turn, data.stretch)),
        (data.shift, RandomCrop(data.shift)),
        (data.flip, RandomHorizontalFlip(data.flip)),
        (colour, ColourJitter(colour, colour, colour, colour / 10)),
        (data.augment, RandAugment(2, data.augment)),
        (data.erase, RandomErasing(data.erase, fill=grey)),
    ]
    return Compose([*first, *(one for wanted, one in chosen if wanted), pictures.normalize])


def training_loader(samples: Any, config: TaskSettings) -> Any:
    """Batches in random order; of texts, with ``data.max_tokens``, those of similar lengths together."""
    data, size = config.data, config.trainer.batch_size
    loader: Any
    if isinstance(samples, ImageSamples):
        loader = samples.loader(size, seed=config.seed, workers=data.workers)
    elif data.max_tokens is not None:
        lengths = samples.lengths[:, 0]
        loader = BucketLoader(
            samples,
            lengths,
            max_tokens=data.max_tokens,
            seed=config.seed,
            buckets=data.buckets,
            collate=samples.collate,
        )
    else:
        loader = samples.loader(size, seed=config.seed)
    return PrefetchLoader(loader, data.prefetch) if data.prefetch else loader


class EvaluationSamples:
    """Samples in batches, each sample once: texts in order of length, images as they come.

    Args:
        samples: the samples.
        batch_size: samples in a batch.
        workers: threads that read and decode images.
    """

    def __init__(self, samples: Any, batch_size: int, workers: int = 1) -> None:
        self.samples, self.batch_size, self.workers = samples, batch_size, workers
        self.order: NDArray[np.int64] = (
            np.argsort(samples.lengths[:, 0], kind="stable")
            if isinstance(samples, LabelledTexts)
            else np.arange(len(samples))
        )

    def __iter__(self) -> Iterator[Any]:
        return self._batches(self.order)

    def spread(self, count: int) -> Iterator[Any]:
        """``count`` batches of samples that are spread evenly: data is often sorted by class."""
        most = min(count * self.batch_size, len(self.order))
        return self._batches(self.order[np.linspace(0, len(self.order) - 1, most).astype(int)])

    def _batches(self, rows: NDArray[np.int64]) -> Iterator[Any]:
        for start in range(0, len(rows), self.batch_size):
            some = rows[start : start + self.batch_size].tolist()
            read = self.samples.__getitem__
            found: Iterator[Any] = map(read, some)
            if self.workers > 1:
                found = in_threads(read, some, workers=self.workers)
            yield self.samples.collate(list(found))
