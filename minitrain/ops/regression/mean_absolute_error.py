"""Absolute error ``w |x - y|`` of outputs x and targets y.

Its derivative is ``w sign(x - y)``, taken as 0 where x = y.
"""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array, array_module
from ..contract.loss import Loss
from ..contract.op import op
from .error import ErrorCache, error_gradients, weighted_loss


class MeanAbsoluteErrorCache(ErrorCache):
    """Saved for the backward."""


@op("outputs: *N; targets: *N; weight: *N")
def mean_absolute_error_forward(
    outputs: Array, targets: Array, weight: Array | None = None, *, each: bool = False
) -> tuple[Loss, MeanAbsoluteErrorCache]:
    """Sum of the absolute errors. Divided by the count it is the mean absolute error.

    Arguments and results are those of ``mean_squared_error_forward``.
    """
    error = outputs - targets
    return weighted_loss(abs(error), weight, each), MeanAbsoluteErrorCache(error, weight)


@op("cache.error: *N")
def mean_absolute_error_backward(dtotal: Any, cache: MeanAbsoluteErrorCache) -> tuple[Array, Array, None]:
    """Map dtotal () or (...,) to doutputs (...,), dtargets (...,), ``None`` for the weights."""
    sign = array_module(cache.error).sign(cache.error)
    return error_gradients("mean_absolute_error_backward", dtotal, sign, cache.weight)
