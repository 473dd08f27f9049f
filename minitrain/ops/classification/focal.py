"""Focal loss over classes (Lin et al., 2017, arXiv:1708.02002): a cross-entropy in which rows already right count less.

With ``l = log p`` the log-probability of the target's class, ``q = 1 - p`` and a weight a of that class::

    loss     = -a q^g l
    dloss/dl = -a q^g (1 - g p l / q)
    dl/dz[c] = [c = y] - softmax(z)[c]

where g is the focusing parameter gamma; 0 gives cross-entropy. As p goes to 1, the quotient ``l / q`` tends to -1.
Where q is 0, its factor ``g q^g`` is 0 too, so any finite number will do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.log_sum_exp import exp_sum
from ..contract.loss import Loss, chain, summed
from ..contract.op import op
from ..linear.embedding import check_ids


class FocalCache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (..., V)
    highest: Array  # (...,) largest logit of each row
    total: Array  # (...,) sum of exp(logits - highest)
    targets: Array  # (...,) integers
    alpha: Array | None  # (V,)
    gamma: float
    ignore_index: int


def _check_focus(logits: Array, targets: Array, alpha: Array | None = None, **options: Any) -> None:
    if not options.get("gamma", 2.0) >= 0:
        raise ShapeError(f"focal_forward: gamma = {options['gamma']} must not be negative")


@op("logits: *N V; targets: int *N; alpha: V", check=_check_focus)
def focal_forward(
    logits: Array,
    targets: Array,
    alpha: Array | None = None,
    *,
    gamma: float = 2.0,
    ignore_index: int = -100,
    each: bool = False,
) -> tuple[Loss, FocalCache]:
    """Sum of the focal losses of all rows whose target is not ignored.

    Args:
        logits: (..., V) unnormalised log-probabilities.
        targets: (...,) integers in [0, V), or ``ignore_index``.
        alpha: (V,) weight of each class, ``None`` for 1. It has no gradient.
        gamma: focusing parameter, at least 0.
        ignore_index: rows with this target add nothing to total, count or gradient.
        each: return the loss of each row instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of rows that count, unweighted as in the paper) and the cache.

    Raises:
        TokenError: if a target is neither a class nor ``ignore_index``.
    """
    xp = array_module(logits)
    counted = targets != ignore_index  # (...,)
    check_ids("focal_forward", "targets", xp.where(counted, targets, 0), logits.shape[-1])
    cache = FocalCache(logits, *exp_sum(logits), targets, alpha, gamma, ignore_index)
    _, log_p, weight = _target_log_probs(cache)
    losses = -weight * (-xp.expm1(log_p)) ** gamma * log_p
    losses = xp.where(counted, losses, 0).astype(logits.dtype)
    return Loss(summed(losses, each), counted.sum(dtype=xp.float64)), cache


@op("cache.logits: *N V")
def focal_backward(dtotal: Any, cache: FocalCache) -> tuple[Array, None, None]:
    """Gradient of the total.

    Maps dtotal () or (...,) to dlogits (..., V), ``None`` for the targets and for the weights.
    """
    logits, highest, total, targets, _, gamma, ignore_index = cache
    xp = array_module(logits)
    y, log_p, weight = _target_log_probs(cache)
    q = -xp.expm1(log_p)  # 1 - p without cancellation
    quotient = log_p / (q + (q == 0))
    dlog_p = -weight * q**gamma * (1 - gamma * xp.exp(log_p) * quotient)  # (...,)
    onehot = xp.arange(logits.shape[-1]) == y[..., None]  # (..., V)
    p = xp.exp(logits - highest[..., None]) / total[..., None]  # (..., V)
    slope = dlog_p[..., None] * (onehot - p)
    dlogits = chain("focal_backward", dtotal, slope.astype(logits.dtype), rows=True)
    counted = (targets != ignore_index)[..., None]
    return xp.where(counted, dlogits, 0).astype(logits.dtype), None, None


def _target_log_probs(cache: FocalCache) -> tuple[Array, Array, Any]:
    """Class, log-probability and weight of each row's target; those of class 0 if the target is ignored."""
    xp = array_module(cache.logits)
    y = xp.where(cache.targets != cache.ignore_index, cache.targets, 0)
    chosen = xp.take_along_axis(cache.logits, y[..., None], axis=-1)[..., 0]
    return y, (chosen - cache.highest) - xp.log(cache.total), 1 if cache.alpha is None else cache.alpha[y]
