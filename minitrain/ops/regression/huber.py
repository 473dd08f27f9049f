"""Huber's loss (Huber, 1964, doi:10.1214/aoms/1177703732): squared for small errors, absolute for large ones.

With ``e = x - y`` for outputs x and targets y, a threshold d and weights w::

    loss = w e^2 / 2               where |e| <= d
           w d (|e| - d / 2)       beyond

The two pieces meet with equal value and slope. The derivative is ``w clip(e, -d, d)``: the pull of an outlier is at
most d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.loss import Loss
from ..contract.op import op
from .error import error_gradients, weighted_loss


class HuberCache(NamedTuple):
    """Saved for the backward."""

    error: Array  # (...,) outputs - targets
    weight: Array | None  # (...,)
    delta: float


def _check_delta(outputs: Array, targets: Array, weight: Array | None = None, **options: Any) -> None:
    if not options.get("delta", 1.0) > 0:
        raise ShapeError(f"huber_forward: delta = {options['delta']} must be above 0")


@op("outputs: *N; targets: *N; weight: *N", check=_check_delta)
def huber_forward(
    outputs: Array, targets: Array, weight: Array | None = None, *, delta: float = 1.0, each: bool = False
) -> tuple[Loss, HuberCache]:
    """Sum of Huber's losses.

    ``delta``, above 0, is the error above which the loss grows linearly. The other arguments and the results are those
    of ``mean_squared_error_forward``.
    """
    error = outputs - targets
    size = abs(error)
    near = array_module(error).minimum(size, delta)
    losses = near * (size - 0.5 * near)  # near is |e| in the first piece and d in the second
    return weighted_loss(losses, weight, each), HuberCache(error, weight, delta)


@op("cache.error: *N")
def huber_backward(dtotal: Any, cache: HuberCache) -> tuple[Array, Array, None]:
    """Map dtotal () or (...,) to doutputs (...,), dtargets (...,), ``None`` for the weights."""
    error, weight, delta = cache
    return error_gradients("huber_backward", dtotal, array_module(error).clip(error, -delta, delta), weight)
