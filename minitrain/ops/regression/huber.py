"""Huber's loss (Huber, 1964, doi:10.1214/aoms/1177703732): squared for small errors, absolute for large ones.

With ``e = x - y`` for outputs x and targets y, a threshold d and weights w::

    loss = w e^2 / 2               where |e| <= d
           w d (|e| - d / 2)       beyond

The two pieces meet with equal value and slope. The derivative is ``w clip(e, -d, d)``: no outlier pulls harder than d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.loss import Loss, chain, summed, weight_sum
from ..contract.op import op


class HuberCache(NamedTuple):
    """What the backward needs."""

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

    Args:
        outputs: (...,) predictions.
        targets: (...,) what they should be.
        weight: (...,) weight of each element, ``None`` for 1. It is held constant: it has no gradient.
        delta: the error from which on the loss grows linearly, above 0.
        each: keep the loss of each element instead of their sum.

    Returns:
        Loss(total () or (...,), count (), the sum of the weights) and the cache.
    """
    error = outputs - targets
    size = abs(error)
    near = array_module(error).minimum(size, delta)
    losses = near * (size - 0.5 * near)  # near is |e| in the first piece and d in the second
    if weight is not None:
        losses = weight * losses
    return Loss(summed(losses, each), weight_sum(losses, weight)), HuberCache(error, weight, delta)


@op("cache.error: *N")
def huber_backward(dtotal: Any, cache: HuberCache) -> tuple[Array, Array, None]:
    """Gradient of the total.

    Args:
        dtotal: () gradient of the total, or (...,) of each loss.
        cache: from the forward.

    Returns:
        doutputs (...,), dtargets (...,), ``None`` for the weights.
    """
    error, weight, delta = cache
    pull = array_module(error).clip(error, -delta, delta)
    doutputs = chain("huber_backward", dtotal, pull if weight is None else weight * pull)
    return doutputs, -doutputs, None
