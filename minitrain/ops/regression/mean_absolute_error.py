"""Absolute error ``w |x - y|`` of outputs x and targets y.

Its derivative is ``w sign(x - y)``, taken as 0 where x = y.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.loss import Loss, chain, summed, weight_sum
from ..contract.op import op


class MeanAbsoluteErrorCache(NamedTuple):
    """What the backward needs."""

    error: Array  # (...,) outputs - targets
    weight: Array | None  # (...,)


@op("outputs: *N; targets: *N; weight: *N")
def mean_absolute_error_forward(
    outputs: Array, targets: Array, weight: Array | None = None, *, each: bool = False
) -> tuple[Loss, MeanAbsoluteErrorCache]:
    """Sum of the absolute errors; divided by the count it is the mean absolute error.

    Args:
        outputs: (...,) predictions.
        targets: (...,) what they should be.
        weight: (...,) weight of each element, ``None`` for 1. It is held constant: it has no gradient.
        each: keep the loss of each element instead of their sum.

    Returns:
        Loss(total () or (...,), count (), the sum of the weights) and the cache.
    """
    error = outputs - targets
    losses = abs(error) if weight is None else weight * abs(error)
    return Loss(summed(losses, each), weight_sum(losses, weight)), MeanAbsoluteErrorCache(error, weight)


@op("cache.error: *N")
def mean_absolute_error_backward(dtotal: Any, cache: MeanAbsoluteErrorCache) -> tuple[Array, Array, None]:
    """Gradient of the total; 0 where an output meets its target.

    Args:
        dtotal: () gradient of the total, or (...,) of each loss.
        cache: from the forward.

    Returns:
        doutputs (...,), dtargets (...,), ``None`` for the weights.
    """
    error, weight = cache
    sign = array_module(error).sign(error)
    doutputs = chain("mean_absolute_error_backward", dtotal, sign if weight is None else weight * sign)
    return doutputs, -doutputs, None
