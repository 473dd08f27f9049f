"""Focal loss for binary labels (Lin et al., 2017, arXiv:1708.02002): elements that are already right count less.

With ``z`` the logit, negated for targets 0, ``p = sigmoid(z)`` the probability of the target and ``q = 1 - p``::

    loss    = -a q^g log p  =  a q^g softplus(-z)
    dloss/dz = -a q^g (g p softplus(-z) + q)

where g is the focusing parameter gamma (0 gives cross-entropy), and a is ``alpha`` for targets 1 and ``1 - alpha`` for
targets 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..activations.logistic import sigmoid, softplus
from ..contract.loss import Loss, chain, summed
from ..contract.op import op
from ..linear.embedding import check_ids


class BinaryFocalCache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (...,)
    targets: Array  # (...,) 0 or 1
    gamma: float
    alpha: float | None


def _check_focus(logits: Array, targets: Array, **options: Any) -> None:
    gamma, alpha = options.get("gamma", 2.0), options.get("alpha")
    if not gamma >= 0:
        raise ShapeError(f"binary_focal_forward: gamma = {gamma} must not be negative")
    if alpha is not None and not 0 <= alpha <= 1:
        raise ShapeError(f"binary_focal_forward: alpha = {alpha} must be in [0, 1], or None for no weights")


@op("logits: *N; targets: int *N", check=_check_focus)
def binary_focal_forward(
    logits: Array, targets: Array, *, gamma: float = 2.0, alpha: float | None = 0.25, each: bool = False
) -> tuple[Loss, BinaryFocalCache]:
    """Sum of the focal losses.

    Args:
        logits: (...,) log-odds.
        targets: (...,) integers, 1 or 0.
        gamma: focusing parameter, at least 0.
        alpha: weight of targets 1, in [0, 1]; targets 0 have weight ``1 - alpha``. ``None`` means 1 for both.
        each: return the loss of each element instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of elements) and the cache.

    Raises:
        TokenError: if a target is neither 0 nor 1.
    """
    check_ids("binary_focal_forward", "targets", targets, 2)
    sign, weight = _sides(logits, targets, alpha)
    z = sign * logits
    losses = weight * sigmoid(-z) ** gamma * softplus(-z)
    return Loss(summed(losses, each), float(losses.size)), BinaryFocalCache(logits, targets, gamma, alpha)


@op("cache.logits: *N")
def binary_focal_backward(dtotal: Any, cache: BinaryFocalCache) -> tuple[Array, None]:
    """Map dtotal () or (...,) to dlogits (...,), ``None`` for the targets."""
    logits, targets, gamma, alpha = cache
    sign, weight = _sides(logits, targets, alpha)
    z = sign * logits
    p, q = sigmoid(z), sigmoid(-z)
    slope = -sign * weight * q**gamma * (gamma * p * softplus(-z) + q)
    return chain("binary_focal_backward", dtotal, slope), None


def _sides(logits: Array, targets: Array, alpha: float | None) -> tuple[Array, Any]:
    """+1 for targets 1 and -1 for targets 0, and the weight of each element."""
    xp = array_module(logits)
    sign = (2 * (targets == 1) - 1).astype(logits.dtype)
    weight = 1 if alpha is None else xp.where(targets == 1, alpha, 1 - alpha).astype(logits.dtype)
    return sign, weight
