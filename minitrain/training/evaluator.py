"""Measuring a model on held-out data. Every target has the same weight, however the data is cut into batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from ..backend.arrays import Array, array_module, to_number
from ..backend.precision import current_precision, use_precision
from ..distributed.group import Group
from ..errors import DataError
from ..measures.base import Measure, Measures, SampleMeasure, as_factory, as_rows, new_measure, ratio, results
from ..measures.fields import inputs_and_targets, per_sample
from ..measures.samples import Collector, SampleTable
from ..ops.contract.loss import Loss
from .feed import batch_to
from .objective import default_metrics
from .parallel.measuring import can_share, contributions, in_turn, take_in

LOSS = "loss"


class Evaluator:
    """Measures the loss and other metrics over a data set: the plain loss, without dropout and label smoothing.

    The values are those of the whole data set for any split into batches. Only an objective that compares the samples
    of a batch with each other, such as a contrastive loss, has a loss that depends on them.

    Args:
        objective: has ``loss(batch)``; with metrics, ``loss_and_outputs(batch)`` or a ``forward`` of the inputs too.
            With ``losses(batch)``, see `CrossEntropyModel.losses`, the loss is summed in float64.
        data: batches, iterated anew each time. If it has ``spread(count)``, an evaluation on a part takes the
            batches that this gives, otherwise the first ones.
        metrics: by name, functions ``metric(outputs, batch) -> (total, count)``, or what makes a measure when it is
            called, such as the classes and objects of `minitrain.measures`. ``None`` means the accuracy of a
            classifier, and nothing for other objectives.
        predict: makes the outputs that the metrics see of a batch, such as the texts of a translator; by default they
            are the objective's.
        device: the model's device.
        precision: of the products, see `minitrain.backend.precision`; ``None`` for that in force.
        group: ranks that share the batches of `run`; each calls it and gets the values of all data.
    """

    def __init__(
        self,
        objective: Any,
        data: Iterable[Any],
        *,
        metrics: Mapping[str, Measures] | None = None,
        predict: Callable[[Any], Any] | None = None,
        device: str = "cpu",
        precision: str | None = None,
        group: Group | None = None,
    ) -> None:
        self.objective, self.data, self.device, self.precision = objective, data, device, precision
        self.group = group
        metrics = default_metrics(objective) if metrics is None else metrics
        self.metrics = {name: as_factory(metric) for name, metric in metrics.items()}
        self.predict = predict
        self.new_measures()  # wrong settings are told now, not at the first evaluation

    def run(self, max_batches: int | None = None, *, average: Any = None) -> dict[str, float]:
        """Measure on all of the data, or on ``max_batches`` batches of it.

        Args:
            max_batches: see above.
            average: an average of the weights with ``applied()``, such as that of `EMA`, to measure instead of the
                weights that the model has.

        Returns:
            ``val_loss``, the mean per target, ``val_tokens``, the number of targets, and each metric as ``val_<name>``,
            or ``val_<name>_<value>`` if it has several values.

        Raises:
            DataError: if there is nothing to measure on.
        """
        measures = self.new_measures()
        if self.group is not None and can_share(measures):
            return self._shared(self.group, measures, max_batches, average)
        return self.measured(measures, max_batches, average=average)

    def _shared(
        self, group: Group, measures: Mapping[str, Measure], max_batches: int | None, average: Any
    ) -> dict[str, float]:
        """The same as `measured`, from batches that the ranks share: every ``group.size``-th is this rank's."""
        parts = []
        for one in self._passes(max_batches, average, slice(group.rank, None, group.size)):
            parts.append([one.total, one.targets, contributions(self.metrics, one.outputs, one.batch)])
        loss = _SumOfLosses()
        for total, targets, added in in_turn(group.gather(parts)):
            loss.add(_Pass(None, total, targets, None, None))
            take_in(measures, added)
        return loss.result() | {f"val_{name}": value for name, value in results(measures).items()}

    def new_measures(self) -> dict[str, Measure]:
        """A new measure of each metric, of nothing yet."""
        return {name: new_measure(factory) for name, factory in self.metrics.items()}

    def measured(
        self, measures: Mapping[str, Measure], max_batches: int | None = None, *, average: Any = None
    ) -> dict[str, float]:
        """`run` with measures that are kept, for what their results leave out: a confusion matrix, all ranks.

        Example:
            ```python
            measures = evaluator.new_measures()
            evaluator.measured(measures)
            matrix = measures["confusion"].sums
            ```
        """
        loss = _SumOfLosses()
        for one in self._passes(max_batches, average):
            loss.add(one)
            for measure in measures.values():
                measure.update(one.outputs, one.batch)
        return loss.result() | {f"val_{name}": value for name, value in results(measures).items()}

    def samples(
        self,
        *,
        keys: Mapping[str, str | Callable[[Any], Any]] | None = None,
        data: str = "",
        average: Any = None,
    ) -> SampleTable:
        """The share of each sample in the loss and in each metric: for slices, intervals and paired tests.

        It has the loss if the objective has ``losses``, and the metrics that are a `SampleMeasure`.

        Args:
            keys: what samples can be told apart by: names of fields of the batches, or functions of a batch, each with
                one value per sample.
            data: names the data, so that only tables of the same data are compared.
            average: see `run`.

        Raises:
            DataError: if there is nothing to measure on, or a key has not one value per sample.
        """
        metrics = {name: metric for name, metric in self.metrics.items() if isinstance(metric, SampleMeasure)}
        losses = {LOSS: SampleLoss()} if _has_losses(self.objective) else {}
        loss, collector = Collector(losses), Collector(metrics, keys)
        passed = _SumOfLosses()
        for one in self._passes(None, average):
            passed.add(one)
            loss.update(one.rows, one.batch)
            collector.update(one.outputs, one.batch)
        passed.result()  # refuses data without targets
        first, second = loss.table(), collector.table()
        return SampleTable({**first.measures, **second.measures}, {**first.rows, **second.rows}, second.keys, data)

    def _passes(self, max_batches: int | None, average: Any, mine: slice = slice(None)) -> Iterator[_Pass]:
        """Each batch with its loss and outputs; or some of the batches."""
        with contextlib.nullcontext() if average is None else average.applied():
            for batch in islice(self._batches(max_batches), mine.start, mine.stop, mine.step):
                placed = batch_to(batch, self.device)
                with use_precision(self.precision or current_precision()):
                    measured = self._measure(placed)
                yield measured  # outside: what a generator sets, its caller sees

    def _batches(self, max_batches: int | None) -> Iterable[Any]:
        if max_batches is None:
            return self.data
        spread = getattr(self.data, "spread", None)
        return spread(max_batches) if spread else islice(self.data, max_batches)

    def _measure(self, batch: Any) -> _Pass:
        """The loss, and the outputs if a metric wants them."""
        wanted, predict = bool(self.metrics) and self.predict is None, self.predict
        outputs = predict(batch) if predict is not None and self.metrics else None
        if _has_losses(self.objective):
            each = self.objective.losses(batch, outputs=wanted)
            total = to_number(each.losses.sum(dtype=array_module(each.losses).float64))
            rows = as_rows(per_sample(each.losses), per_sample(each.counts))
            return _Pass(batch, total, to_number(each.counts.sum()), each.outputs if wanted else outputs, rows)
        if wanted and hasattr(self.objective, "loss_and_outputs"):
            loss, outputs = self.objective.loss_and_outputs(batch)
        else:
            loss, _ = self.objective.loss(batch)
            if wanted:
                outputs = self.objective.forward(inputs_and_targets(batch)[0])[0]
        return _Pass(batch, to_number(loss.total), to_number(loss.count), outputs, None)


class SampleLoss(SampleMeasure):
    """The mean loss of the targets; its rows are known already."""

    kind = "loss"

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The loss and the counted targets of each sample, (B, 2): the outputs themselves."""
        rows: Array = outputs
        return rows

    def value(self, sums: Array) -> dict[str, float]:
        """The mean."""
        return ratio(sums[0], sums[1])


class _Pass(NamedTuple):
    """A batch, and what an evaluation knows of it."""

    batch: Any
    total: float
    targets: float  # how many count
    outputs: Any
    rows: Any  # (B, 2) losses and counted targets of the samples; None if the objective does not tell


class _SumOfLosses:
    """The loss over the batches so far."""

    def __init__(self) -> None:
        self.total = self.count = 0.0

    def add(self, one: _Pass) -> None:
        self.total += one.total
        self.count += one.targets

    def result(self) -> dict[str, float]:
        if not self.count:
            raise DataError("the validation data has no target that counts: there is nothing to measure on")
        return {"val_loss": Loss(self.total, self.count).mean, "val_tokens": int(self.count)}


def _has_losses(objective: Any) -> bool:
    """Whether an objective tells the loss of each target, and no class below that has a ``loss`` of its own."""
    for kind in type(objective).__mro__:
        if "losses" in vars(kind):
            return "loss" not in vars(objective)
        if "loss" in vars(kind):
            return False
    return False
