"""Squared error ``w (x - y)^2`` of outputs x and targets y; its derivative is ``2 w (x - y)``."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array
from ..contract.loss import Loss, chain, summed, weight_sum
from ..contract.op import op


class MeanSquaredErrorCache(NamedTuple):
    """What the backward needs."""

    error: Array  # (...,) outputs - targets
    weight: Array | None  # (...,)


@op("outputs: *N; targets: *N; weight: *N")
def mean_squared_error_forward(
    outputs: Array, targets: Array, weight: Array | None = None, *, each: bool = False
) -> tuple[Loss, MeanSquaredErrorCache]:
    """Sum of the squared errors; divided by the count it is the mean squared error.

    Args:
        outputs: (...,) predictions.
        targets: (...,) what they should be.
        weight: (...,) weight of each element, ``None`` for 1. It is held constant: it has no gradient.
        each: keep the loss of each element instead of their sum.

    Returns:
        Loss(total () or (...,), count (), the sum of the weights) and the cache.
    """
    error = outputs - targets
    losses = error * error if weight is None else weight * error * error
    return Loss(summed(losses, each), weight_sum(losses, weight)), MeanSquaredErrorCache(error, weight)


@op("cache.error: *N")
def mean_squared_error_backward(dtotal: Any, cache: MeanSquaredErrorCache) -> tuple[Array, Array, None]:
    """Gradient of the total.

    Args:
        dtotal: () gradient of the total, or (...,) of each loss.
        cache: from the forward.

    Returns:
        doutputs (...,), dtargets (...,), ``None`` for the weights.
    """
    error, weight = cache
    slope = 2 * error if weight is None else 2 * weight * error
    doutputs = chain("mean_squared_error_backward", dtotal, slope)
    return doutputs, -doutputs, None
