"""Regression losses: the distance of outputs from targets of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from ..backend.arrays import Array
from ..ops.contract.loss import Loss
from ..ops.contract.op import SKIP
from ..ops.regression.huber import huber_backward, huber_forward
from ..ops.regression.mean_absolute_error import mean_absolute_error_backward, mean_absolute_error_forward
from ..ops.regression.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from .base import LossFunction, as_weight, fit

OUTPUTS_ONLY = (None, SKIP, None)
"""The ``into`` of these losses: only the outputs need a gradient."""


class WeightedError(LossFunction):
    """A loss per element, multiplied by its weight. A subclass names its operation.

    Args:
        reduction: see ``Reduced``; the count of the mean is the sum of the weights.
        weight: weight of each element, broadcasts to the outputs; 1 by default.
    """

    operation: ClassVar[tuple[Callable[..., Any], Callable[..., Any]]]
    """The forward and the backward."""

    def __init__(self, reduction: str | None = None, weight: Any = None, **numbers: float) -> None:
        super().__init__(reduction, **numbers)
        self.weight = as_weight(weight)
        self.options = numbers

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        weight = fit(self, self.weight, outputs, outputs.shape)
        result: tuple[Loss, Any] = self.operation[0](outputs, targets, weight, each=each, **self.options)
        return result

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        doutputs: Array = self.operation[1](dtotal, cache, into=OUTPUTS_ONLY)[0]
        return doutputs


class MeanSquaredError(WeightedError):
    """``w (x - y)^2`` for outputs and targets (...,); see `WeightedError` for the settings."""

    operation = (mean_squared_error_forward, mean_squared_error_backward)


class MeanAbsoluteError(WeightedError):
    """``w |x - y|`` for outputs and targets (...,); see `WeightedError` for the settings."""

    operation = (mean_absolute_error_forward, mean_absolute_error_backward)


class HuberLoss(WeightedError):
    """Squared for errors up to ``delta``, linear beyond, for outputs and targets (...,).

    Args:
        delta: where the two pieces meet, above 0.
        reduction: see ``Reduced``; the count of the mean is the sum of the weights, as for the squared error
            (PyTorch divides its weighted Huber loss by the number of elements instead).
        weight: weight of each element, broadcasts to the outputs; 1 by default.
    """

    operation = (huber_forward, huber_backward)

    def __init__(self, delta: float = 1.0, reduction: str | None = None, weight: Any = None) -> None:
        super().__init__(reduction, weight, delta=delta)
