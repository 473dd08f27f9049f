"""Triplet loss (Schroff et al., 2015, arXiv:1503.03832): an anchor should be nearer to its positive than its negative.

With ``d(a, b) = sqrt(sum((a - b + eps)^2))``, as in PyTorch::

    loss = max(0, d(a, p) - d(a, n) + margin)

Where it is positive, with the unit vectors ``u = (a - p + eps) / d(a, p)`` and ``v = (a - n + eps) / d(a, n)``, the
gradients are ``da = u - v, dp = -u, dn = v``. At distance 0 and at the kink, the derivative is taken to be 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.loss import Loss, chain, summed
from ..contract.op import op


class TripletCache(NamedTuple):
    """Saved for the backward."""

    to_positive: Array  # (..., C) anchor - positive + eps
    to_negative: Array  # (..., C) anchor - negative + eps
    active: Array  # (...,) whether the loss is positive


@op("anchor: *N C; positive: *N C; negative: *N C")
def triplet_forward(
    anchor: Array, positive: Array, negative: Array, *, margin: float = 1.0, eps: float = 1e-6, each: bool = False
) -> tuple[Loss, TripletCache]:
    """Sum of the triplet losses.

    Args:
        anchor: (..., C) embeddings.
        positive: (..., C) embeddings that should be near the anchors.
        negative: (..., C) embeddings that should be far from them.
        margin: by how much nearer the positive should be.
        eps: added to each difference.
        each: return the loss of each triplet instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of triplets) and the cache.
    """
    to_positive, to_negative = anchor - positive + eps, anchor - negative + eps
    gap = _length(to_positive) - _length(to_negative) + margin  # (...,)
    losses = array_module(anchor).maximum(gap, 0)
    cache = TripletCache(to_positive, to_negative, gap > 0)
    return Loss(summed(losses, each), float(losses.size)), cache


@op("cache.to_positive: *N C; cache.to_negative: *N C")
def triplet_backward(dtotal: Any, cache: TripletCache) -> tuple[Array, Array, Array]:
    """Map dtotal () or (...,) to danchor (..., C), dpositive (..., C), dnegative (..., C)."""
    to_positive, to_negative, active = cache
    pull = chain("triplet_backward", dtotal, _direction(to_positive) * active[..., None], rows=True)
    push = chain("triplet_backward", dtotal, _direction(to_negative) * active[..., None], rows=True)
    return pull - push, -pull, push


def _length(x: Array) -> Array:
    return array_module(x).sqrt((x * x).sum(axis=-1))  # type: ignore[no-any-return]


def _direction(x: Array) -> Array:
    """Rows scaled to length 1; a row of zeros stays zero."""
    length = _length(x)[..., None]
    return x / (length + (length == 0))  # type: ignore[no-any-return]
