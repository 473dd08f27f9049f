"""Softmax cross-entropy over class indices, with label smoothing, ignored targets, class weights and z-loss.

For one row of logits z, its log-sum-exp L, the target y and class weights w::

    log p = z - L                   computed from the parts of L, see ``log_sum_exp``
    loss  = -(1 - e) w[y] log p[y]  -  (e / V) sum_c w[c] log p[c]  +  a w[y] L^2

with smoothing e spread over all V classes, as in PyTorch (Szegedy et al., 2016, arXiv:1512.00567). The last term is
the z-loss of PaLM (Chowdhery et al., 2022, arXiv:2204.02311, section 5; a = 1e-4 there): it keeps the normaliser
near 1. The gradient is ``p * (W + 2 a w[y] L) - target``, where ``target[c] = (1 - e) w[y] [c = y] + (e / V) w[c]`` and
W is the sum of ``target``.

Loss and count are both linear in w: a row whose class has weight 2 counts like two rows, in the z-loss too.

The option ``others_only`` smooths like The Annotated Transformer (Rush, 2018): e is spread over the n classes other
than the target and ``ignore_index`` (padding), ``e / n`` each. Then
``target[c] = (1 - e - e / n) w[y] [c = y] + (e / n) w[c] [c is not ignore_index]``.

The loss is a *total* and a *count* (the sum of w[y]); the mean is their quotient.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.log_sum_exp import exp_sum
from ..contract.loss import Loss, chain, summed
from ..contract.op import op
from ..linear.embedding import check_ids


class CrossEntropyCache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (..., V)
    highest: Array  # (...,) largest logit of each row
    total: Array  # (...,) sum of exp(logits - highest)
    targets: Array  # (...,) integers
    class_weight: Array | None  # (V,)
    label_smoothing: float
    ignore_index: int
    z_loss: float
    others_only: bool


def check_entropy_options(
    function: str,
    V: int,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    others_only: bool = False,
    **_: Any,
) -> None:
    """Raise ``ShapeError`` if the options of a cross-entropy over V classes are out of range."""
    if not 0 <= label_smoothing <= 1:
        raise ShapeError(f"{function}: label_smoothing = {label_smoothing} must be in [0, 1]")
    if not z_loss >= 0:
        raise ShapeError(f"{function}: z_loss = {z_loss} must not be negative")
    if others_only and label_smoothing > 0 and _others(V, ignore_index) < 1:
        raise ShapeError(
            f"{function}: of V = {V} classes, others_only leaves none to smooth over besides the target's and "
            f"ignore_index = {ignore_index}; use label_smoothing=0 or others_only=False"
        )


def _check(logits: Array, targets: Array, class_weight: Array | None = None, **options: Any) -> None:
    check_entropy_options("cross_entropy_forward", logits.shape[-1], **options)


@op("logits: *N V; targets: int *N; class_weight: V", check=_check)
def cross_entropy_forward(
    logits: Array,
    targets: Array,
    class_weight: Array | None = None,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    others_only: bool = False,
    each: bool = False,
) -> tuple[Loss, CrossEntropyCache]:
    """Sum of the cross-entropies of all rows whose target is not ignored.

    Args:
        logits: (..., V) unnormalised log-probabilities.
        targets: (...,) integers in [0, V), or ``ignore_index``.
        class_weight: (V,) weight of each class, ``None`` for 1. It has no gradient.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].
        ignore_index: rows with this target add nothing to total, count or gradient.
        z_loss: factor of the squared log-sum-exp that is added for each row that counts, at least 0.
        others_only: whether smoothing leaves out the target's own class and ``ignore_index``.
        each: return the loss of each row instead of the sum.

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
    highest, total = exp_sum(logits)  # (...,)
    wy = counted.astype(logits.dtype) if class_weight is None else xp.where(counted, class_weight[y], 0)  # (...,)
    cache = CrossEntropyCache(
        logits, highest, total, targets, class_weight, label_smoothing, ignore_index, z_loss,
        others_only and label_smoothing > 0,
    )  # fmt: skip
    hit, share, spread_over = smoothed_target(cache)
    chosen = xp.take_along_axis(logits, y[..., None], axis=-1)[..., 0]  # (...,)
    log_total = xp.log(total)
    lse = highest + log_total
    losses = wy * (hit * (log_total - (chosen - highest)) + z_loss * lse * lse)
    if share > 0:
        # A class without a share of the smoothing costs nothing, even if its logit is -inf.
        costs = xp.where(spread_over != 0, log_total[..., None] - (logits - highest[..., None]), 0)  # (..., V)
        losses = losses + share * (spread_over * costs).sum(axis=-1)
    # An ignored row adds nothing, even where its logits are not finite.
    losses = xp.where(counted, losses, 0).astype(logits.dtype)
    return Loss(summed(losses, each), wy.sum(dtype=xp.float64)), cache


@op("cache.logits: *N V")
def cross_entropy_backward(dtotal: Any, cache: CrossEntropyCache) -> tuple[Array, None, None]:
    """Gradient of the total.

    Args:
        dtotal: () gradient of the total: 1 for the plain sum, the loss scale in mixed precision. Or (...,), the
            gradient of each row's loss.
        cache: from the forward.

    Returns:
        dlogits (..., V), ``None`` for the targets and for the class weights.
    """
    logits, highest, total, targets, class_weight, _, ignore_index, z_loss, _ = cache
    xp = array_module(logits)
    counted = targets != ignore_index  # (...,)
    y = xp.where(counted, targets, 0)
    hit, share, spread_over = smoothed_target(cache)
    onehot = xp.arange(logits.shape[-1]) == y[..., None]  # (..., V)
    w = xp.ones(logits.shape[-1], logits.dtype) if class_weight is None else class_weight
    target = hit * onehot * w + share * spread_over  # (..., V)
    p_factor = target.sum(axis=-1) + 2 * z_loss * w[y] * (highest + xp.log(total))  # (...,)
    dlogits = xp.exp(logits - highest[..., None]) * (p_factor / total)[..., None] - target
    dlogits = chain("cross_entropy_backward", dtotal, dlogits.astype(logits.dtype), rows=True)
    return xp.where(counted[..., None], dlogits, 0).astype(logits.dtype), None, None


def smoothed_target(cache: CrossEntropyCache) -> tuple[float, float, Array]:
    """The smoothed target ``hit * w[y] [c = y] + share * spread_over[c]``.

    Returns:
        hit, share and spread_over (V,): the class weights, 0 for a class without a share of the smoothing.
    """
    xp = array_module(cache.logits)
    V, e = cache.logits.shape[-1], cache.label_smoothing
    w = xp.ones(V, cache.logits.dtype) if cache.class_weight is None else cache.class_weight
    if not cache.others_only:
        return 1 - e, e / max(V, 1), w
    share = e / _others(V, cache.ignore_index)
    return 1 - e - share, share, xp.where(xp.arange(V) == cache.ignore_index, 0, w).astype(w.dtype)


def _others(V: int, ignore_index: int) -> int:
    """How many of V classes are neither a target's nor ``ignore_index``."""
    return V - 1 - (0 <= ignore_index < V)
