"""Several data sets in fixed proportions.

With weights 3 and 1, every *cycle* of four samples has three of the first data set and one of the second, in a random
order. So the proportions are exact after every cycle, not only on average. How often each data set came before a
position can be computed, so nothing has to be saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...random import Key
from ..loading.order import EpochOrder, across_epochs
from .samples import Samples, ShuffledSamples

LONGEST_CYCLE = 1_000_000


class Mixture:
    """Samples of several data sets, interleaved by weight; a `SampleSequence` for `SampleLoader`.

    Each data set has its own seeded order, epoch by epoch; a small one with a large weight goes through more epochs.

    Attributes:
        names: the data sets' names.
        cycle_counts: ``(n,)`` samples of each in a cycle.
        cycle: samples of all in a cycle.
    """

    def __init__(self, datasets: Mapping[str, Samples], weights: Mapping[str, float], seed: int) -> None:
        """Fix the proportions.

        Args:
            datasets: data sets by name; their samples have one type.
            weights: a positive number for each name: whole numbers, or decimals such as 0.7, taken exactly as written.
            seed: seed of all orders.

        Raises:
            ConfigError: if the names differ, or a weight is not positive or has too many digits.
            DataError: if a data set is empty.
        """
        if not datasets or datasets.keys() != weights.keys():
            raise ConfigError(
                f"a mixture needs a weight for each data set: there are data sets {_list(datasets)} and weights for "
                f"{_list(weights)}"
            )
        self.names = tuple(datasets)
        self.cycle_counts = _whole_numbers({name: weights[name] for name in self.names})
        self.cycle = int(self.cycle_counts.sum())
        key = Key.from_seed(seed).fold("mixture")
        self._sequences = [ShuffledSamples(datasets[name], key.fold("samples", name)) for name in self.names]
        self._sources = np.repeat(np.arange(len(self.names)), self.cycle_counts)  # (cycle,)
        self._order = EpochOrder(self.cycle, key.fold("order"))

    @property
    def samples_per_epoch(self) -> int:
        """Samples in which every sample of every data set comes at least once."""
        cycles = [-(-s.samples_per_epoch // int(c)) for s, c in zip(self._sequences, self.cycle_counts, strict=True)]
        return max(cycles) * self.cycle

    def sources(self, first: int, count: int) -> NDArray[np.int64]:
        """Which data set samples ``first … first + count - 1`` come from, int64 ``(count,)`` indices of ``names``."""
        return across_epochs(self._order_of, self.cycle, first, count)

    def samples(self, first: int, count: int) -> list[Any]:
        """Samples number ``first … first + count - 1``."""
        cycle, within = divmod(first, self.cycle)
        before = cycle * self.cycle_counts + self._counts(self._order_of(cycle)[:within])  # (n,)
        sources = self.sources(first, count)
        streams = [
            iter(sequence.samples(int(start), int(number)))
            for sequence, start, number in zip(self._sequences, before, self._counts(sources), strict=True)
        ]
        return [next(streams[source]) for source in sources.tolist()]

    def _order_of(self, cycle: int) -> NDArray[np.int64]:
        return self._sources[self._order.of_epoch(cycle)]

    def _counts(self, sources: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(sources, minlength=len(self.names))


def _whole_numbers(weights: Mapping[str, float]) -> NDArray[np.int64]:
    """The smallest whole numbers with the proportions of ``weights``, int64 ``(n,)``."""
    exact = []
    for name, weight in weights.items():
        if not 0 < weight < float("inf"):
            raise ConfigError(f"the weight of {name!r} must be a positive number, not {weight}")
        exact.append(Fraction(str(weight)))
    scale = lcm(*(weight.denominator for weight in exact))
    counts = np.array([int(weight * scale) for weight in exact], dtype=object)
    counts //= np.gcd.reduce(counts)
    if (cycle := int(counts.sum())) > LONGEST_CYCLE:
        raise ConfigError(
            f"the weights {dict(weights)} repeat only after {cycle} samples, more than {LONGEST_CYCLE}: "
            "give whole numbers, or fewer digits"
        )
    return counts.astype(np.int64)


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, names)) or "none"
