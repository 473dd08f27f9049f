"""Data sets with images, and their loader: decoding in threads, random transforms by the number of the sample."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...random import Key
from ..images.transforms.base import Transform
from ..loading.batches import checked_batch_size, checked_step, split_batch
from ..loading.order import EpochOrder, ShardOrder
from ..loading.parts import borders
from ..samples.datasets import SampleDataset


class ImageSamples(SampleDataset):
    """Samples whose first field is an image, uint8 ``(C, H, W)``, of any size. A subclass makes batches of them.

    Attributes:
        transform: makes the images of a batch one array.
    """

    transform: Transform

    @abstractmethod
    def make_batch(self, samples: Sequence[Any], key: Key | None) -> Any:
        """A batch of samples.

        Args:
            samples: at least one.
            key: random key, with the number of the first sample; ``None`` means evaluation.
        """

    def collate(self, samples: Sequence[Any]) -> Any:
        """A batch for evaluation: nothing in it is random."""
        return self.make_batch(samples, None)

    def loader(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        workers: int = 1,
        shard_sizes: NDArray[np.int64] | None = None,
    ) -> ImageLoader:
        """Endless training batches, with random transforms; see `ImageLoader`.

        Raises:
            ConfigError: if a number is below 1.
            DataError: if the data set is empty, or the sizes of shards do not fit it.
        """
        return ImageLoader(self, batch_size, seed=seed, workers=workers, shard_sizes=shard_sizes)


class ImageLoader:
    """Batches of a data set of images; a `Loader`.

    Batch ``step`` has the samples from ``step * batch_size`` on of the sequence of all epochs, and sample p of it is
    transformed with random numbers of its own. So a batch is a function of the seed and the step. To prepare batches
    while the model works, give it to a `PrefetchLoader`.

    Attributes:
        dataset: the data set.
        batch_size: B, samples in a batch.
        workers: threads that read and decode.
        order: the order of the samples.
    """

    def __init__(
        self,
        dataset: ImageSamples,
        batch_size: int,
        *,
        seed: int = 0,
        workers: int = 1,
        shard_sizes: NDArray[np.int64] | None = None,
    ) -> None:
        """Set the order.

        Args:
            dataset: the data set.
            batch_size: samples in a batch.
            seed: seed of the order and of the transforms.
            workers: how many threads read and decode; the batches do not depend on it.
            shard_sizes: samples in each shard, to read shard by shard, see `ShardOrder`.

        Raises:
            ConfigError: if a number is below 1.
            DataError: if the data set is empty, or the sizes do not add up to it.
        """
        if workers < 1:
            raise ConfigError(f"workers={workers} must be at least 1")
        if not len(dataset):
            raise DataError("the data set has no images: there is nothing to train on")
        key = Key.from_seed(seed).fold("images")
        if shard_sizes is None:
            self.order = EpochOrder(len(dataset), key.fold("order"))
        else:
            self.order = ShardOrder(shard_sizes, key.fold("order"))
            if self.order.count != len(dataset):
                raise DataError(
                    f"the shards have {self.order.count} images together, and the data set has {len(dataset)}: give "
                    "the sizes of its own shards"
                )
        self.dataset, self.batch_size, self.workers = dataset, checked_batch_size(batch_size), workers
        self._key = key.fold("transform")
        self._pool: ThreadPoolExecutor | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every sample comes at least once."""
        return -(-self.order.count // self.batch_size)

    def batch(self, step: int) -> Any:
        """The batch of step ``step``, counted from 0.

        Raises:
            ConfigError: if ``step`` is negative.
            DataError: if an image is broken.
        """
        first = checked_step(step) * self.batch_size
        rows = self.order.take(first, self.batch_size).tolist()
        return self.dataset.make_batch(self._read(rows), self._key.at_sample(first))

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample; see `split_batch`.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above ``batch_size``.
        """
        return split_batch(self.batch(step), accumulation)

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, Any]]:
        """The micro-batches ``wanted`` of `micro_batches`; no other image is read.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above ``batch_size``.
            DataError: if an image is broken.
        """
        start, parts = checked_step(step) * self.batch_size, []
        for first, count in borders(self.batch_size, accumulation, wanted):
            rows = self.order.take(start + first, count).tolist()
            parts.append((first, self.dataset.make_batch(self._read(rows), self._key.at_sample(start + first))))
        return parts

    def _read(self, rows: list[int]) -> list[Any]:
        if self.workers == 1:
            return [self.dataset[row] for row in rows]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="minitrain-decode")
            weakref.finalize(self, self._pool.shutdown)
        return list(self._pool.map(self.dataset.__getitem__, rows))
