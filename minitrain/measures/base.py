"""Measures: each takes batches one after the other, and has a result at the end.

Most measures are functions of a sum: each sample has a row of numbers, the rows are added, and the value follows from
the sum. Accuracy is ``right / counted``, BLEU follows from sums of matches and lengths. Such a measure says how the row
of a sample is made and what follows from a sum (`SampleMeasure`). Then it streams in constant memory, any split into
batches gives the same value, and intervals and tests resample the rows (`minitrain.measures.samples`).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np

from ..backend.arrays import Array
from ..errors import DataError

Metric = Callable[[Any, Any], tuple[float, float]]
"""``metric(outputs, batch) -> (total, count)``; the value over a data set is the sum of totals over that of counts."""


class Measure(Protocol):
    """Measures one pass over some data."""

    def update(self, outputs: Any, batch: Any) -> None:
        """Take a batch and what the model made of it."""

    def result(self) -> dict[str, float]:
        """The values by name; ``""`` is the name of the value that has the measure's own name.

        A value that is not defined, such as the mean of nothing, is left out.
        """


Measures = Metric | Callable[[], Measure] | type["SampleMeasure"]
"""A metric of an evaluation: a function ``metric(outputs, batch)``, or a maker of measures, called once each time."""


class SampleMeasure(ABC):
    """A measure that is a function of a sum over samples. The object holds settings only.

    Calling it makes a `RunningSum`, so it is its own factory: ``metrics={"top5": TopK(5)}``.

    Attributes:
        kind: its name in files.
    """

    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[SampleMeasure]]] = {}

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            SampleMeasure.kinds[cls.kind] = cls

    def __call__(self) -> RunningSum:
        """A new sum of this measure, of nothing yet."""
        return RunningSum(self)

    @abstractmethod
    def rows(self, outputs: Any, batch: Any) -> Array:
        """The rows of the samples of a batch, (B, S) float64 on the CPU."""

    @abstractmethod
    def value(self, sums: Array) -> dict[str, float]:
        """The values that follow from a sum; see `Measure.result`."""

    def sums(self, rows: Array, weights: Array | None = None) -> Array:
        """Add rows (N, S), each as often as its weight (N,) says: (S,), unless the measure adds in another way."""
        return rows.sum(axis=0) if weights is None else weights @ rows

    def settings(self) -> dict[str, Any]:
        """The arguments that make a measure with the same ``value`` again, as JSON can hold them."""
        return {}


class RunningSum:
    """The sum of a `SampleMeasure` over the batches so far.

    Attributes:
        measure: the measure.
        sums: (S,) the sum; ``None`` before the first batch.
    """

    def __init__(self, measure: SampleMeasure) -> None:
        self.measure = measure
        self.sums: Array | None = None

    def update(self, outputs: Any, batch: Any) -> None:
        """Add the samples of a batch."""
        added = self.measure.sums(self.measure.rows(outputs, batch))
        self.sums = added if self.sums is None else self.sums + added

    def result(self) -> dict[str, float]:
        """The values of the sum."""
        return {} if self.sums is None else self.measure.value(self.sums)


class Mean:
    """The mean of a function ``metric(outputs, batch) -> (total, count)``."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.total = self.count = 0.0

    def update(self, outputs: Any, batch: Any) -> None:
        """Add the total and the count of a batch."""
        total, count = self.metric(outputs, batch)
        self.total += total
        self.count += count

    def result(self) -> dict[str, float]:
        """The sum of the totals over that of the counts."""
        return {"": self.total / self.count} if self.count else {}


def as_factory(metric: Any) -> Callable[[], Measure]:
    """The function that makes a new measure of a metric for each evaluation.

    A function of outputs and a batch becomes a `Mean`. A class of a `SampleMeasure` becomes an object of it. What else
    can be called without arguments is a factory already.

    Raises:
        DataError: if it cannot be called.
    """
    if isinstance(metric, type) and issubclass(metric, SampleMeasure):
        return metric()
    if not callable(metric):
        raise DataError(f"a metric is a function of outputs and a batch, or makes a measure; this is {metric!r:.100}")
    try:
        inspect.signature(metric).bind()
    except (TypeError, ValueError):  # a ValueError: a function of another language, which says nothing of its own
        return partial(Mean, metric)
    factory: Callable[[], Measure] = metric
    return factory


def new_measure(factory: Callable[[], Measure]) -> Measure:
    """A new measure.

    Raises:
        DataError: if the factory makes something else.
    """
    made = factory()
    if not (hasattr(made, "update") and hasattr(made, "result")):
        raise DataError(
            f"a metric is called with outputs and a batch, or makes a measure with update(outputs, batch) and result() "
            f"when it is called without arguments; {factory!r:.100} makes a {type(made).__name__}"
        )
    return made


def results(measures: Mapping[str, Measure]) -> dict[str, float]:
    """The values of all measures: ``name``, or ``name_value`` where a measure has several."""
    return {
        "_".join(filter(None, (name, key))): value
        for name, measure in measures.items()
        for key, value in measure.result().items()
    }


def measure(pairs: Iterable[tuple[Any, Any]], metrics: Mapping[str, Measures]) -> dict[str, float]:
    """Measure pairs of outputs and batches.

    Args:
        pairs: outputs of a model, each with its batch; whatever the metrics understand, such as texts and references.
        metrics: functions or factories of measures by name.

    Example:
        ```python
        found = measure([(["a cat"], ["a cat"]), (["the dog"], ["a dog"])], {"exact": ExactMatch()})
        ```
    """
    made = {name: new_measure(as_factory(metric)) for name, metric in metrics.items()}
    for outputs, batch in pairs:
        for one in made.values():
            one.update(outputs, batch)
    return results(made)


def as_rows(*columns: Any) -> Array:
    """Columns (B,) next to each other: (B, S) float64."""
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def ratio(total: float, count: float, name: str = "") -> dict[str, float]:
    """A mean by name; nothing where nothing counted."""
    return {name: float(total) / float(count)} if count else {}
