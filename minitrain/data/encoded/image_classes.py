"""Records with an image and a label as the samples of a classifier of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...random import Key
from ..images.transforms.base import Transform
from ..loading.batches import Batch
from ..records.base import Records
from ..records.broken import BrokenItems
from .classes import Classes, check_column
from .image_samples import ImageSamples


class LabelledImage(NamedTuple):
    """An image and its class.

    Attributes:
        image: uint8 ``(C, H, W)``.
        target: the class.
    """

    image: NDArray[np.uint8]
    target: int


class LabelledImages(ImageSamples):
    """Images and their classes for a `ViT`; batches are `Batch`es of images and targets.

    Attributes:
        records: the records.
        classes: the classes.
        targets: ``(N,)`` int32, the class of each sample.
        broken: records that were left out.

    Examples:
        >>> from minitrain.data import ImageArrays, Normalize
        >>> images = ImageArrays(np.zeros((5, 28, 28), np.uint8), label=np.arange(5) % 2)
        >>> dataset = LabelledImages(images, transform=Normalize())
        >>> batch = dataset.loader(4).batch(0)
        >>> batch.inputs.shape, batch.inputs.dtype, batch.targets.shape
        ((4, 1, 28, 28), dtype('float32'), (4,))
    """

    def __init__(
        self,
        records: Records,
        classes: Classes | None = None,
        *,
        transform: Transform,
        label: str = "label",
        broken: str = "refuse",
        max_broken: float = 0.01,
    ) -> None:
        """Look at all labels.

        Args:
            records: have the columns ``image`` and a label.
            classes: those of the training data, for validation data; ``None`` takes those of the records.
            transform: makes the images of a batch one array.
            label: the column of the label.
            broken: ``"refuse"`` or ``"skip"`` for records of a class that is not in ``classes``.
            max_broken: with ``"skip"``, the largest share of them.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if a class is refused, or too many are unknown.
        """
        check_column(records, "image")
        self.records, self.transform = records, transform
        self.classes = Classes.of(records, label) if classes is None else classes
        self.broken = BrokenItems(broken, max_broken)
        self.rows, self.targets = self.classes.numbers_in(records, label, self.broken)
        self.broken.check_share(len(records))

    def __len__(self) -> int:
        return self.rows.size

    def __getitem__(self, index: int) -> LabelledImage:
        """Image ``index`` and its class.

        Raises:
            DataError: if the image is broken.
        """
        row = self._checked(index)
        return LabelledImage(self.records[int(self.rows[row])]["image"], int(self.targets[row]))

    def make_batch(self, samples: Sequence[Any], key: Key | None) -> Batch:
        """Transformed images ``(B, C, H, W)`` and their classes, int32 ``(B,)``."""
        images = self.transform([sample.image for sample in samples], key)
        return Batch(images, np.array([sample.target for sample in samples], dtype=np.int32))
