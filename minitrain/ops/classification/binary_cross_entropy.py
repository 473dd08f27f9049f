"""Cross-entropy of independent binary labels, from logits.

For a logit x, ``p = sigmoid(x)``, a target t in [0, 1] and a weight w of the positive class::

    loss  = -w t log p - (1 - t) log(1 - p)  =  w t softplus(-x) + (1 - t) softplus(x)
    dloss = (1 - t) p - w t (1 - p)

Softplus never overflows, however large the logit is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array
from ..activations.logistic import sigmoid, softplus
from ..contract.loss import Loss, chain, summed
from ..contract.op import op


class BinaryCrossEntropyCache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (..., C)
    targets: Array  # (..., C)
    pos_weight: Array | None  # (C,)


@op("logits: *N C; targets: *N C; pos_weight: C")
def binary_cross_entropy_forward(
    logits: Array, targets: Array, pos_weight: Array | None = None, *, each: bool = False
) -> tuple[Loss, BinaryCrossEntropyCache]:
    """Sum of the binary cross-entropies.

    Args:
        logits: (..., C) log-odds.
        targets: (..., C) probabilities in [0, 1]: 1 is positive, 0 negative. They have no gradient.
        pos_weight: (C,) weight of the positive class of each column, ``None`` for 1; above 1 it trades precision for
            recall. It has no gradient.
        each: return the loss of each element instead of the sum.

    Returns:
        Loss(total () or (..., C), count (), the number of elements) and the cache.
    """
    positive = targets if pos_weight is None else pos_weight * targets
    losses = positive * softplus(-logits) + (1 - targets) * softplus(logits)
    return Loss(summed(losses, each), float(losses.size)), BinaryCrossEntropyCache(logits, targets, pos_weight)


@op("cache.logits: *N C")
def binary_cross_entropy_backward(dtotal: Any, cache: BinaryCrossEntropyCache) -> tuple[Array, None, None]:
    """Map dtotal () or (..., C) to dlogits (..., C), ``None`` for the targets and for the weights."""
    logits, targets, pos_weight = cache
    positive = targets if pos_weight is None else pos_weight * targets
    slope = (1 - targets) * sigmoid(logits) - positive * sigmoid(-logits)
    return chain("binary_cross_entropy_backward", dtotal, slope), None, None
