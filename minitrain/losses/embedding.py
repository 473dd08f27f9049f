"""Losses between embeddings."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array
from ..ops.regression.triplet import triplet_backward, triplet_forward
from .base import LossCache, Reduced


class TripletLoss(Reduced):
    """An anchor (..., C) should be nearer to its positive (..., C) than to its negative (..., C).

    Args:
        margin: the required difference of the distances.
        reduction: see ``Reduced``.
    """

    def __init__(self, margin: float = 1.0, reduction: str | None = None) -> None:
        super().__init__(reduction, margin=margin)
        self.margin = margin

    def forward(self, anchor: Array, positive: Array, negative: Array) -> tuple[Any, LossCache]:
        """Compute the loss of embeddings (..., C), reduced as the reduction says, and the cache."""
        loss, cache = triplet_forward(anchor, positive, negative, margin=self.margin, each=self.each)
        return self.reduce(loss, cache)

    def backward(self, dloss: Any, cache: LossCache) -> tuple[Array, Array, Array]:
        """Map dloss to danchor, dpositive and dnegative (..., C)."""
        return triplet_backward(cache.scaled(dloss), cache.operation)
