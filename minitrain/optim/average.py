"""Averages of weights over a run, which often generalise better than the last weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from ..backend.arrays import Array
from ..nn.core.module import Module
from .checks import POSITIVE, RATE
from .groups import check_in_use, flat_groups, trainable_spans
from .state import load_arrays


class WeightAverage(ABC):
    """An average of a model's trainable weights; a subclass says how much of them each ``update`` takes in.

    Call ``update()`` after every ``optimizer.step``, and evaluate under ``with average.applied():``.

    Args:
        model: the model, packed already if it is to be; its present weights are the first average.
    """

    def __init__(self, model: Module) -> None:
        self.model = model
        self._spans, self._flat = trainable_spans(model), flat_groups(model)
        self._averages = [span.data.copy() for span in self._spans]

    @abstractmethod
    def update(self) -> None:
        """Take the model's weights into the average."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside a ``with`` block, and its own ones back after it.

        Raises:
            MinitrainError: if the weights were packed or moved after the average was made.
        """
        check_in_use(type(self).__name__, self.model, self._spans, self._flat)
        own = [span.data.copy() for span in self._spans]
        for span, average in zip(self._spans, self._averages, strict=True):
            span.data[...] = average
        try:
            yield
        finally:
            for span, weights in zip(self._spans, own, strict=True):
                span.data[...] = weights

    def state_dict(self) -> dict[str, Array]:
        """The averages, by path of the parameter."""
        return {
            path: span.part(average, path)
            for span, average in zip(self._spans, self._averages, strict=True)
            for path in span.parts
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Go on from averages that ``state_dict`` gave, also those of an unpacked model for a packed one.

        Raises:
            CheckpointError: if they belong to other parameters. Nothing is loaded then.
        """
        load_arrays(self.state_dict(), state, "the averaged weights are of another model")

    def _mix(self, keep: float, take: float) -> None:
        """``average <- keep * average + take * weights``."""
        check_in_use(type(self).__name__, self.model, self._spans, self._flat)
        for span, average in zip(self._spans, self._averages, strict=True):
            average *= keep
            average += take * span.data


class ExponentialAverage(WeightAverage):
    """``a <- decay a + (1 - decay) w`` (Polyak, Juditsky, 1992; Tarvainen, Valpola, 2017, arXiv:1703.01780).

    Args:
        model: as every `WeightAverage` has it.
        decay: weight of the past. The average looks back over about ``1 / (1 - decay)`` updates.

    Raises:
        ConfigError: if the decay is out of range.
    """

    def __init__(self, model: Module, *, decay: float = 0.999) -> None:
        RATE.check("ExponentialAverage", decay=decay)
        super().__init__(model)
        self.decay = decay

    def update(self) -> None:
        """Take the model's weights into the average."""
        self._mix(self.decay, 1 - self.decay)


COUNTS = "updates, averaged"  # no parameter has this path


class StochasticWeightAverage(WeightAverage):
    """The plain mean of weights along the way, SWA (Izmailov et al., 2018, arXiv:1803.05407).

    The mean is that of the weights after update ``start``, ``start + every``, ``start + 2 every``, and so on. Before
    the first of them, the average is the model's present weights.

    Args:
        model: as every `WeightAverage` has it.
        start: number of the update, counted from 1, after which the first weights are taken.
        every: number of updates between two takings.

    Raises:
        ConfigError: if a number is out of range.
    """

    def __init__(self, model: Module, *, start: int = 1, every: int = 1) -> None:
        POSITIVE.check("StochasticWeightAverage", start=start, every=every)
        super().__init__(model)
        self.start, self.every = start, every
        self._counts = np.zeros(2, np.int64)  # updates so far, weights in the mean

    @property
    def averaged(self) -> int:
        """Number of weights in the mean."""
        return int(self._counts[1])

    def update(self) -> None:
        """Count an update of the model, and take its weights into the mean if it is their turn."""
        self._counts[0] += 1
        since = int(self._counts[0]) - self.start
        if since < 0:
            self._mix(0.0, 1.0)
        elif since % self.every == 0:
            self._mix(self.averaged / (self.averaged + 1), 1 / (self.averaged + 1))
            self._counts[1] += 1

    def state_dict(self) -> dict[str, Array]:
        """The averages, by path of the parameter, and how many updates and weights they are of."""
        return {**super().state_dict(), COUNTS: self._counts}
