"""Measuring a model on held-out data. Every target has the same weight, however the data is cut into batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from ..backend.precision import current_precision, use_precision
from ..errors import DataError
from ..ops.contract.loss import Loss
from .feed import batch_to
from .objective import Metric, default_metrics, inputs_and_targets


class Evaluator:
    """Measures the loss and other metrics over a data set: the plain loss, without dropout and label smoothing.

    Args:
        objective: has ``loss(batch)``; with metrics, ``loss_and_outputs(batch)`` or a ``forward`` of the inputs too.
        data: batches, iterated anew each time. If it has ``spread(count)``, an evaluation on a part takes the
            batches that this gives, otherwise the first ones.
        metrics: functions ``metric(outputs, batch) -> (total, count)`` by name. ``None`` means the accuracy of a
            classifier, and nothing for other objectives.
        device: where the model is.
        precision: of the products, see `minitrain.backend.precision`; ``None`` for that in force.
    """

    def __init__(
        self,
        objective: Any,
        data: Iterable[Any],
        *,
        metrics: Mapping[str, Metric] | None = None,
        device: str = "cpu",
        precision: str | None = None,
    ) -> None:
        self.objective, self.data, self.device, self.precision = objective, data, device, precision
        self.metrics = default_metrics(objective) if metrics is None else dict(metrics)

    def run(self, max_batches: int | None = None) -> dict[str, float]:
        """Measure on all of the data, or on ``max_batches`` batches of it.

        Returns:
            ``val_loss``, the mean per target, ``val_tokens``, the number of targets, and each metric as ``val_<name>``.

        Raises:
            DataError: if there is nothing to measure on.
        """
        total = count = 0.0
        sums = {name: [0.0, 0.0] for name in self.metrics}
        for batch in self._batches(max_batches):
            placed = batch_to(batch, self.device)
            with use_precision(self.precision or current_precision()):
                loss, outputs = self._measure(placed)
            total += float(loss.total)
            count += float(loss.count)
            for name, metric in self.metrics.items():
                value, weight = metric(outputs, placed)
                sums[name][0] += value
                sums[name][1] += weight
        if not count:
            raise DataError("the validation data has no target that counts: there is nothing to measure on")
        values = {f"val_{name}": value / weight for name, (value, weight) in sums.items() if weight}
        return {"val_loss": Loss(total, count).mean, "val_tokens": int(count), **values}

    def _batches(self, max_batches: int | None) -> Iterable[Any]:
        if max_batches is None:
            return self.data
        spread = getattr(self.data, "spread", None)
        return spread(max_batches) if spread else islice(self.data, max_batches)

    def _measure(self, batch: Any) -> tuple[Loss, Any]:
        """The loss, and the outputs if a metric wants them."""
        if self.metrics and hasattr(self.objective, "loss_and_outputs"):
            measured: tuple[Loss, Any] = self.objective.loss_and_outputs(batch)
            return measured
        loss, _ = self.objective.loss(batch)
        return loss, self.objective.forward(inputs_and_targets(batch)[0])[0] if self.metrics else None
