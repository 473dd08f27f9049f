"""Backwards of the backwards of losses: with these begins every product with the Hessian of a model."""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array, array_module
from ..classification.cross_entropy import (
    CrossEntropyCache,
    cross_entropy_backward,
    cross_entropy_forward,
    smoothed_target,
)
from ..classification.linear_cross_entropy import LinearCrossEntropyCache
from ..contract.loss import chain, is_per_loss
from ..contract.sums import sum_over
from ..linear.linear import linear_backward, linear_forward
from ..regression.mean_squared_error import MeanSquaredErrorCache
from .linear import linear_backward_backward
from .pairs import second_order


def _inner(name: str, dtotal: Any, products: Array, losses: tuple[int, ...]) -> Array:
    """The gradient of dtotal: the products of each loss, or the sum of all if dtotal is one number."""
    return products if is_per_loss(name, dtotal, losses) else sum_over(products)


@second_order
def cross_entropy_backward_backward(
    ddlogits: Array, ddtargets: None, ddclass_weight: None, dtotal: Any, cache: CrossEntropyCache
) -> tuple[Array, Array, None, None]:
    """The backward of ``dlogits = dtotal (p F - target)`` with ``F = sum(target) + 2 a w[y] L``.

    The target is constant. p changes by ``p (u - m)`` with ``m = sum(p u)``, the mean of u, and L by m::

        dlogits = dtotal p (F (u - m) + 2 a w[y] m)        ddtotal = sum(u (p F - target))

    Args:
        ddlogits: (..., V) gradient of dlogits, u above.
        ddtargets: ``None``.
        ddclass_weight: ``None``.
        dtotal: () or (...,) gradient of the total or of each row's loss.
        cache: from the forward.

    Returns:
        ddtotal () or (...,), dlogits (..., V), ``None`` for the targets and for the class weights.
    """
    name = "cross_entropy_backward_backward"
    logits, highest, total, targets, class_weight, _, ignore_index, z_loss, _ = cache
    xp = array_module(logits)
    counted = targets != ignore_index  # (...,)
    y = xp.where(counted, targets, 0)
    first = cross_entropy_backward.reference(1.0, cache)[0]  # (..., V)
    ddtotal = _inner(name, dtotal, (ddlogits * first).sum(axis=-1), counted.shape)
    hit, share, spread_over = smoothed_target(cache)
    w = xp.ones(logits.shape[-1], logits.dtype) if class_weight is None else class_weight
    wy, highest, total = w[y[..., None]], highest[..., None], total[..., None]  # (..., 1)
    squared = 2 * z_loss * wy  # the factor of L^2's derivative
    factor = hit * wy + share * spread_over.sum() + squared * (highest + xp.log(total))  # (..., 1) F
    p = xp.exp(logits - highest) / total  # (..., V)
    mean = (p * ddlogits).sum(axis=-1, keepdims=True)  # (..., 1)
    dlogits = p * (factor * (ddlogits - mean) + squared * mean)
    dlogits = chain(name, dtotal, dlogits.astype(logits.dtype), rows=True)
    return ddtotal, xp.where(counted[..., None], dlogits, 0).astype(logits.dtype), None, None


@second_order
def linear_cross_entropy_backward_backward(
    ddhidden: Array,
    ddweight: Array,
    ddtargets: None,
    ddbias: Array | None,
    ddclass_weight: None,
    dtotal: Any,
    cache: LinearCrossEntropyCache,
) -> tuple[Array, Array, Array, None, Array | None, None]:
    """The two of ``linear`` and ``cross_entropy``, one after the other, with the logits of all rows at once.

    The gradient of the logits changes by the Hessian of the cross-entropy, and goes through the linear map like any
    gradient; in addition, the linear map itself changes.

    Args:
        ddhidden: (..., C) gradient of dhidden.
        ddweight: (V, C) gradient of dweight.
        ddtargets: ``None``.
        ddbias: (V,) gradient of dbias, or ``None`` without a bias.
        ddclass_weight: ``None``.
        dtotal: () or (...,) gradient of the total or of each row's loss.
        cache: from the forward.

    Returns:
        ddtotal () or (...,), dhidden (..., C), dweight (V, C), ``None`` for the targets, dbias (V,) or ``None``, and
        ``None`` for the class weights.
    """
    logits, head = linear_forward.reference(cache.hidden, cache.weight, cache.bias)  # (..., V)
    options = cache.options._asdict()
    _, entropy = cross_entropy_forward.reference(logits, cache.targets, cache.class_weight, **options)
    dlogits = cross_entropy_backward.reference(dtotal, entropy)[0]
    moved, bent_hidden, bent_weight, _ = linear_backward_backward(ddhidden, ddweight, ddbias, dlogits, head)
    ddtotal, moved_dlogits, _, _ = cross_entropy_backward_backward(moved, None, None, dtotal, entropy)
    dhidden, dweight, dbias = linear_backward.reference(moved_dlogits, head)
    return ddtotal, dhidden + bent_hidden, dweight + bent_weight, None, dbias, None


@second_order
def mean_squared_error_backward_backward(
    ddoutputs: Array, ddtargets: Array, ddweight: None, dtotal: Any, cache: MeanSquaredErrorCache
) -> tuple[Array, Array, Array, None]:
    """The backward of ``doutputs = 2 dtotal w (outputs - targets) = -dtargets``.

    Maps ddoutputs (...,), ddtargets (...,) and dtotal () or (...,) to ddtotal, in dtotal's shape, doutputs (...,),
    dtargets (...,), and ``None`` for the weights.
    """
    name, error = "mean_squared_error_backward_backward", cache.error
    moved = 2 * (ddoutputs - ddtargets) * (1 if cache.weight is None else cache.weight)
    doutputs = chain(name, dtotal, moved)
    return _inner(name, dtotal, moved * error, error.shape), doutputs, -doutputs, None
