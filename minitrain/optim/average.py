"""Exponential moving average of weights (Polyak, Juditsky, 1992; Tarvainen, Valpola, 2017, arXiv:1703.01780)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..backend.arrays import Array
from ..nn.module import Module
from .checks import check_decay_rates
from .groups import trainable_spans
from .state import load_arrays


class ExponentialAverage:
    """The average ``a <- decay a + (1 - decay) w`` of a model's trainable weights, which often generalises better.

    Call ``update()`` after every ``optimizer.step``, and evaluate under ``with average.applied():``.

    Args:
        model: the model, packed already if it is to be; its present weights are the first average.
        decay: weight of the past. The average looks back over about ``1 / (1 - decay)`` updates.

    Raises:
        ConfigError: if the decay is out of range.
    """

    def __init__(self, model: Module, *, decay: float = 0.999) -> None:
        check_decay_rates("ExponentialAverage", decay=decay)
        self.model, self.decay = model, decay
        self._spans = trainable_spans(model)
        self._averages = [span.data.copy() for span in self._spans]

    def update(self) -> None:
        """Take the model's weights into the average."""
        for span, average in zip(self._spans, self._averages, strict=True):
            average *= self.decay
            average += (1 - self.decay) * span.data

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averaged weights inside a ``with`` block, and its own ones back after it."""
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
