"""Squared error ``w (x - y)^2`` of outputs x and targets y; its derivative is ``2 w (x - y)``."""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array
from ..contract.loss import Loss
from ..contract.op import op
from .error import ErrorCache, error_gradients, weighted_loss


class MeanSquaredErrorCache(ErrorCache):
    """Saved for the backward."""


@op("outputs: *N; targets: *N; weight: *N")
def mean_squared_error_forward(
    outputs: Array, targets: Array, weight: Array | None = None, *, each: bool = False
) -> tuple[Loss, MeanSquaredErrorCache]:
    """Sum of the squared errors. Divided by the count it is the mean squared error.

    Args:
        outputs: (...,) predictions.
        targets: (...,) true values.
        weight: (...,) weight of each element, ``None`` for 1. It has no gradient.
        each: return the loss of each element instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the sum of the weights) and the cache.
    """
    error = outputs - targets
    return weighted_loss(error * error, weight, each), MeanSquaredErrorCache(error, weight)


@op("cache.error: *N")
def mean_squared_error_backward(dtotal: Any, cache: MeanSquaredErrorCache) -> tuple[Array, Array, None]:
    """Map dtotal () or (...,) to doutputs (...,), dtargets (...,), ``None`` for the weights."""
    return error_gradients("mean_squared_error_backward", dtotal, 2 * cache.error, cache.weight)
