"""Losses between distributions."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array
from ..ops.classification.kl_divergence import kl_divergence_backward, kl_divergence_forward
from ..ops.contract.loss import Loss
from .base import LossFunction


class KLDivergenceLoss(LossFunction):
    """Divergence of log-probabilities (..., V) from target probabilities (..., V).

    Args:
        reduction: see ``Reduced``; there is one loss per row, and the mean is over rows (PyTorch's ``"batchmean"``).
    """

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        return kl_divergence_forward(outputs, targets, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return kl_divergence_backward(dtotal, cache)[0]
