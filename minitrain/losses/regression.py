"""Losses of numbers: how far outputs lie from targets of the same shape."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array
from ..ops.contract.loss import Loss
from ..ops.contract.op import SKIP
from ..ops.regression.huber import huber_backward, huber_forward
from ..ops.regression.mean_absolute_error import mean_absolute_error_backward, mean_absolute_error_forward
from ..ops.regression.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from .base import LossFunction, as_weight, fit

OUTPUTS_ONLY = (None, SKIP, None)


class MeanSquaredError(LossFunction):
    """``w (x - y)^2`` for outputs and targets (...,).

    Args:
        reduction: see ``Reduced``; the count of the mean is the sum of the weights.
        weight: weight of each element, broadcasts to the outputs; 1 by default.
    """

    def __init__(self, reduction: str | None = None, weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight = as_weight(weight)

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        weight = fit(self, self.weight, outputs, outputs.shape)
        return mean_squared_error_forward(outputs, targets, weight, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return mean_squared_error_backward(dtotal, cache, into=OUTPUTS_ONLY)[0]


class MeanAbsoluteError(LossFunction):
    """``w |x - y|`` for outputs and targets (...,).

    Args:
        reduction: see ``Reduced``; the count of the mean is the sum of the weights.
        weight: weight of each element, broadcasts to the outputs; 1 by default.
    """

    def __init__(self, reduction: str | None = None, weight: Any = None) -> None:
        super().__init__(reduction)
        self.weight = as_weight(weight)

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        weight = fit(self, self.weight, outputs, outputs.shape)
        return mean_absolute_error_forward(outputs, targets, weight, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return mean_absolute_error_backward(dtotal, cache, into=OUTPUTS_ONLY)[0]


class HuberLoss(LossFunction):
    """Squared for errors up to ``delta``, linear beyond, for outputs and targets (...,).

    Args:
        delta: where the two pieces meet, above 0.
        reduction: see ``Reduced``; the count of the mean is the sum of the weights, as for the squared error
            (PyTorch divides its weighted Huber loss by the number of elements instead).
        weight: weight of each element, broadcasts to the outputs; 1 by default.
    """

    def __init__(self, delta: float = 1.0, reduction: str | None = None, weight: Any = None) -> None:
        super().__init__(reduction, delta=delta)
        self.delta = delta
        self.weight = as_weight(weight)

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        weight = fit(self, self.weight, outputs, outputs.shape)
        return huber_forward(outputs, targets, weight, delta=self.delta, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return huber_backward(dtotal, cache, into=OUTPUTS_ONLY)[0]
