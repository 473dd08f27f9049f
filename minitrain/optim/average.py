"""Averages of weights over a run. They often generalise better than the last weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

import numpy as np

from ..backend.arrays import Array
from ..nn.core.module import Module
from .arithmetic import update_mean
from .checks import POSITIVE, RATE
from .groups import SpanOwner
from .state import load_arrays


class WeightAverage(SpanOwner):
    """An average of a model's trainable weights. A subclass decides how far each ``update`` moves it to the weights.

    Call ``update()`` after every ``optimizer.step``, and evaluate under ``with average.applied():``. If a parameter is
    frozen after the average was made, its average is the weight itself.

    Args:
        model: the model; pack it first if at all. Its current weights are the initial average.
    """

    _model_bound: ClassVar[tuple[str, ...]] = (*SpanOwner._model_bound, "_averages")

    def __init__(self, model: Module) -> None:
        super().__init__(model)
        self._make_arrays()

    @abstractmethod
    def update(self) -> None:
        """Take the model's weights into the average."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside a ``with`` block, and restore its own weights afterwards.

        Raises:
            MinitrainError: if the weights were packed or moved after the average was made, or if a parameter that was
                frozen then is trainable now.
        """
        self._prepare()
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
        return self._arrays()

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from averages that ``state_dict`` gave. A packed model may take those of an unpacked one.

        Raises:
            CheckpointError: if they belong to other parameters. Nothing is loaded then.
        """
        load_arrays(self.state_dict(), state, "the averaged weights are of another model")

    def _arrays(self) -> dict[str, Array]:
        return {
            path: span.part(average, path)
            for span, average in zip(self._spans, self._averages, strict=True)
            for path in span.parts
        }

    def _make_arrays(self) -> None:
        self._averages = [span.data.copy() for span in self._spans]

    def _prepare(self) -> None:
        """Check that the average still fits the model, and set the average of frozen weights to the weights."""
        self._check_in_use()
        for span, average in zip(self._spans, self._averages, strict=True):
            for path in span.frozen():
                span.part(average, path)[...] = span.part(span.data, path)

    def _approach(self, share: float) -> None:
        """``average <- (1 - share) * average + share * weights``; a share of 1 copies the weights."""
        self._prepare()
        for span, average in zip(self._spans, self._averages, strict=True):
            if share == 1:
                average[...] = span.data
            else:
                update_mean(average, span.data, share)


class ExponentialAverage(WeightAverage):
    """``a <- decay a + (1 - decay) w`` (Polyak, Juditsky, 1992; Tarvainen, Valpola, 2017, arXiv:1703.01780).

    Args:
        model: see `WeightAverage`.
        decay: weight of the past. The average covers about the last ``1 / (1 - decay)`` updates.

    Raises:
        ConfigError: if the decay is out of range.
    """

    def __init__(self, model: Module, *, decay: float = 0.999) -> None:
        RATE.check("ExponentialAverage", decay=decay)
        super().__init__(model)
        self.decay = decay

    def update(self) -> None:
        """Take the model's weights into the average."""
        self._approach(1 - self.decay)


COUNTS = "updates, averaged"  # no parameter has this path


class StochasticWeightAverage(WeightAverage):
    """The plain mean of weights during a run, SWA (Izmailov et al., 2018, arXiv:1803.05407).

    It is the mean of the weights after update ``start``, ``start + every``, ``start + 2 every``, and so on. Before the
    first of these, the average is the model's current weights.

    Args:
        model: see `WeightAverage`.
        start: number of the first update whose weights enter the mean, counted from 1.
        every: number of updates between two that enter the mean.

    Raises:
        ConfigError: if a number is out of range.
    """

    def __init__(self, model: Module, *, start: int = 1, every: int = 1) -> None:
        POSITIVE.check("StochasticWeightAverage", start=start, every=every)
        super().__init__(model)
        self.start, self.every = start, every
        self._counts = np.zeros(2, np.int64)  # updates so far, and those in the mean

    @property
    def averaged(self) -> int:
        """Number of updates whose weights are in the mean."""
        return int(self._counts[1])

    def update(self) -> None:
        """Count an update of the model, and include its weights in the mean if it is their turn."""
        since = int(self._counts[0]) + 1 - self.start
        counts = since >= 0 and since % self.every == 0
        if counts or not self.averaged:  # before the first one, the average is the weights
            self._approach(1 / (self.averaged + 1))
        self._counts += (1, counts)

    def state_dict(self) -> dict[str, Array]:
        """The averages, by path of the parameter, and the numbers of updates so far and in the mean."""
        return {**super().state_dict(), COUNTS: self._counts}
