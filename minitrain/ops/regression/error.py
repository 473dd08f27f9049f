"""Shared parts of regression losses: ``loss = weight * f(error)`` for each element, with ``error = outputs - targets``.

Each loss defines ``f`` and its derivative. The targets' gradient is that of the outputs, negated. The weights have no
gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array
from ..contract.loss import Loss, chain, summed, weight_sum


class ErrorCache(NamedTuple):
    """Saved for the backward."""

    error: Array  # (...,) outputs - targets
    weight: Array | None  # (...,)


def weighted_loss(losses: Array, weight: Array | None, each: bool) -> Loss:
    """The loss of an operation from that of each element.

    Args:
        losses: (...,) loss of each element.
        weight: (...,) weight of each element, ``None`` for 1.
        each: return the loss of each element instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the sum of the weights).
    """
    if weight is not None:
        losses = weight * losses
    return Loss(summed(losses, each), weight_sum(losses, weight))


def error_gradients(function: str, dtotal: Any, slope: Array, weight: Array | None) -> tuple[Array, Array, None]:
    """The gradients of an operation from the derivative of each loss.

    Args:
        function: the name of the backward, for an error.
        dtotal: () gradient of the total, or (...,) of each loss.
        slope: (...,) derivative of each loss with respect to its error.
        weight: (...,) weight of each element, ``None`` for 1.

    Returns:
        doutputs (...,), dtargets (...,), ``None`` for the weights.
    """
    doutputs = chain(function, dtotal, slope if weight is None else weight * slope)
    return doutputs, -doutputs, None
