"""Softmax cross-entropy over class indices, with label smoothing, ignored targets and class weights.

For one row of logits z, its log-sum-exp L, the target y and class weights w::

    log p = z - L
    loss  = -(1 - e) w[y] log p[y]  -  (e / V) sum_c w[c] log p[c]

with smoothing e spread over all V classes, as in PyTorch (Szegedy et al., 2016, arXiv:1512.00567). The gradient is
``p * W - target``, where ``target[c] = (1 - e) w[y] [c = y] + (e / V) w[c]`` and W is the sum of ``target``.

The loss is returned as a *total* and a *count* (the sum of w[y]); the mean is their quotient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend.arrays import Array, array_module
from ..errors import ShapeError
from .contract import op
from .embedding import check_ids
from .loss import Loss, chain, summed


class CrossEntropyCache(NamedTuple):
    """What the backward needs."""

    logits: Array  # (..., V)
    lse: Array  # (...,) log-sum-exp of each row
    targets: Array  # (...,) integers
    class_weight: Array | None  # (V,)
    label_smoothing: float
    ignore_index: int


def _check_smoothing(logits: Array, targets: Array, class_weight: Array | None = None, **options: Any) -> None:
    if not 0 <= options.get("label_smoothing", 0.0) <= 1:
        raise ShapeError(f"cross_entropy_forward: label_smoothing = {options['label_smoothing']} must be in [0, 1]")


@op("logits: *N V; targets: int *N; class_weight: V", check=_check_smoothing)
def cross_entropy_forward(
    logits: Array,
    targets: Array,
    class_weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    each: bool = False,
) -> tuple[Loss, CrossEntropyCache]:
    """Sum of the cross-entropies of all rows whose target is not ignored.

    Args:
        logits: (..., V) unnormalised log-probabilities.
        targets: (...,) integers in [0, V), or ``ignore_index``.
        class_weight: (V,) weight of each class, ``None`` for 1. It is held constant: it has no gradient.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].
        ignore_index: rows with this target add nothing to total, count or gradient.
        each: keep the loss of each row instead of their sum.

    Returns:
        Loss(total () or (...,), count ()) and the cache.

    Raises:
        TokenError: if a target is neither a class nor ``ignore_index``.
    """
    xp = array_module(logits)
    V = logits.shape[-1]
    counted = targets != ignore_index  # (...,)
    y = xp.where(counted, targets, 0)
    check_ids("cross_entropy_forward", "targets", y, V)
    highest = logits.max(axis=-1, keepdims=True)  # (..., 1)
    lse = (xp.log(xp.exp(logits - highest).sum(axis=-1, keepdims=True)) + highest)[..., 0]  # (...,)
    wy = counted.astype(logits.dtype) if class_weight is None else xp.where(counted, class_weight[y], 0)  # (...,)
    chosen = xp.take_along_axis(logits, y[..., None], axis=-1)[..., 0]  # (...,)
    losses = (1 - label_smoothing) * wy * (lse - chosen)
    if label_smoothing > 0:
        w = xp.ones(V, logits.dtype) if class_weight is None else class_weight
        spread = (w * (lse[..., None] - logits)).sum(axis=-1) / V  # (...,)
        losses = losses + label_smoothing * xp.where(counted, spread, 0)
    # An ignored row adds nothing, even where its logits are not finite.
    losses = xp.where(counted, losses, 0).astype(logits.dtype)
    cache = CrossEntropyCache(logits, lse, targets, class_weight, label_smoothing, ignore_index)
    return Loss(summed(losses, each), wy.sum(dtype=xp.float64)), cache


@op("cache.logits: *N V")
def cross_entropy_backward(dtotal: Any, cache: CrossEntropyCache) -> tuple[Array, None, None]:
    """Gradient of the total.

    Args:
        dtotal: () gradient of the total: 1 for the plain sum, a loss scale in mixed precision; or (...,) of each
            row's loss.
        cache: from the forward.

    Returns:
        dlogits (..., V), ``None`` for the targets and for the class weights.
    """
    logits, lse, targets, class_weight, label_smoothing, ignore_index = cache
    xp = array_module(logits)
    V = logits.shape[-1]
    counted = targets != ignore_index
    y = xp.where(counted, targets, 0)
    w = xp.ones(V, logits.dtype) if class_weight is None else class_weight
    onehot = xp.arange(V) == y[..., None]  # (..., V)
    target = (1 - label_smoothing) * onehot * w + label_smoothing / V * w  # (..., V)
    p = xp.exp(logits - lse[..., None])
    dlogits = p * target.sum(axis=-1, keepdims=True) - target
    dlogits = chain("cross_entropy_backward", dtotal, dlogits.astype(logits.dtype), rows=True)
    return xp.where(counted[..., None], dlogits, 0).astype(logits.dtype), None, None
