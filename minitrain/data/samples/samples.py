"""Data sets by samples, and the loader that makes batches of them.

A data set has a length and returns a sample, a named tuple of arrays, for an index. `ShuffledSamples` turns it into an
endless sequence, epoch by epoch; a `Mixture` interleaves several data sets. `SampleLoader` cuts such a sequence into
batches. Everything is a function of the seed and a position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ...errors import DataError
from ...random import Key
from ..loading.batches import checked_batch_size, checked_step, split_batch
from ..loading.order import EpochOrder
from ..loading.parts import borders
from .collate import stack_collate

Collate = Callable[[Sequence[Any]], Any]


class Samples(Protocol):
    """A data set: samples by index."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Sample ``index``, a named tuple of arrays."""
        ...


class SampleSequence(Protocol):
    """An endless sequence of samples."""

    @property
    def samples_per_epoch(self) -> int:
        """Samples after which all have come."""
        ...

    def samples(self, first: int, count: int) -> list[Any]:
        """Samples number ``first … first + count - 1``."""
        ...


class ShuffledSamples:
    """A data set repeated endlessly, in a new order in every epoch.

    Attributes:
        dataset: the data set.
        order: the order of the samples.
    """

    def __init__(self, dataset: Samples, key: Key) -> None:
        """Shuffle ``dataset`` by ``key``.

        Raises:
            DataError: if it is empty.
        """
        if len(dataset) == 0:
            raise DataError("the data set is empty: there is nothing to train on; give it at least one sample")
        self.dataset, self.order = dataset, EpochOrder(len(dataset), key)

    @property
    def samples_per_epoch(self) -> int:
        """Samples after which all have come."""
        return self.order.count

    def samples(self, first: int, count: int) -> list[Any]:
        """Samples number ``first … first + count - 1`` of the sequence of all epochs."""
        return [self.dataset[index] for index in self.order.take(first, count).tolist()]


class SampleLoader:
    """Batches of a sequence of samples; a `Loader`.

    Batch ``step`` has the samples from ``step * batch_size`` on; it may reach into the next epoch.

    Attributes:
        sequence: the source of the samples.
        batch_size: B, samples in a batch.
        collate: makes a batch of a list of samples.
    """

    def __init__(self, sequence: SampleSequence, batch_size: int, *, collate: Collate = stack_collate) -> None:
        """Set the size of batches.

        Raises:
            ConfigError: if ``batch_size`` is below 1.
        """
        self.sequence, self.batch_size, self.collate = sequence, checked_batch_size(batch_size), collate

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every sample comes at least once."""
        return -(-self.sequence.samples_per_epoch // self.batch_size)

    def batch(self, step: int) -> Any:
        """The batch of step ``step``, counted from 0.

        Raises:
            ConfigError: if ``step`` is negative.
        """
        return self.collate(self.sequence.samples(checked_step(step) * self.batch_size, self.batch_size))

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample; see `split_batch`.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above ``batch_size``.
        """
        return split_batch(self.batch(step), accumulation)

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, Any]]:
        """The micro-batches ``wanted``, each put together by itself; no other sample is read.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above ``batch_size``.
        """
        start = checked_step(step) * self.batch_size
        cut = borders(self.batch_size, accumulation, wanted)
        return [(first, self.collate(self.sequence.samples(start + first, count))) for first, count in cut]
