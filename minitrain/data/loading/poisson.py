"""Batches that each sample joins with the same probability, independently of all others: Poisson sampling.

The accounting of differentially private training (Abadi et al., 2016, arXiv:1607.00133) rests on it. Shuffled epochs
have batches of one size, and less privacy than that accounting says (Chua et al., 2024, arXiv:2403.17673).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...random import Key, uniform
from ..samples.datasets import SampleDataset
from .batches import checked_batch_size, checked_step


class PoissonLoader:
    """Batches of a data set that each sample joins with probability ``batch_size / len(dataset)``; a `Loader`.

    The size of a batch is random, ``batch_size`` on average, and may be 0. Batch ``step`` is a pure function of the key
    and ``step``.

    Attributes:
        dataset: the samples.
        batch_size: the mean number of samples in a batch.
        key: random key of who joins.
    """

    def __init__(self, dataset: SampleDataset, batch_size: int, key: Key) -> None:
        """Compute the probability.

        Raises:
            DataError: if the data set is empty.
            ConfigError: if ``batch_size`` is below 1 or above the number of samples.
        """
        if len(dataset) == 0:
            raise DataError("the data set is empty: there is nothing to train on; give it at least one sample")
        if checked_batch_size(batch_size) > len(dataset):
            raise ConfigError(f"batch_size={batch_size} must be at most the number of samples, {len(dataset)}")
        self.dataset, self.batch_size, self.key = dataset, batch_size, key

    @property
    def rate(self) -> float:
        """The probability with which a sample joins a batch."""
        return self.batch_size / len(self.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which a sample comes once on average."""
        return -(-len(self.dataset) // self.batch_size)

    def members(self, step: int) -> NDArray[np.int64]:
        """The samples of batch ``step`` in their order in the data set: int64 ``(n,)``."""
        numbers = uniform(self.key.fold(checked_step(step)), (1, len(self.dataset)))[0]
        return np.flatnonzero(numbers < self.rate)

    def batch(self, step: int) -> Any:
        """The batch of step ``step``, counted from 0.

        Raises:
            ConfigError: if ``step`` is negative.
            DataError: if no sample joined it.
        """
        members = self.members(step)
        if members.size == 0:
            raise DataError(f"no sample joined batch {step}; micro_batches(step, ...) returns none then")
        return self.dataset.collate([self.dataset[index] for index in members.tolist()])

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """The samples of batch ``step`` as batches of one, with nothing padded; each with its place in the batch.

        ``accumulation`` changes nothing: there is no smaller part than a sample.
        """
        members = self.members(step).tolist()
        return [(place, self.dataset.collate([self.dataset[index]])) for place, index in enumerate(members)]

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, list[Any]]]:
        """Some of ``accumulation`` parts of batch ``step``, each a list of batches of one sample.

        A part may be empty, as the batch may be. No other sample is read.
        """
        members = self.members(step).tolist()
        borders = [(len(members) * part // accumulation, len(members) * (part + 1) // accumulation) for part in wanted]
        return [
            (first, [self.dataset.collate([self.dataset[index]]) for index in members[first:end]])
            for first, end in borders
        ]
