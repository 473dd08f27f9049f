"""Cross-entropy that includes the head of a language model, so that all logits never exist at once."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array
from ..ops.classification.linear_cross_entropy import CHUNK, linear_cross_entropy_backward, linear_cross_entropy_forward
from ..ops.contract.op import Target
from .base import LossCache, fit
from .classification import NOTHING_IGNORED, SmoothedLoss


class LinearCrossEntropy(SmoothedLoss):
    """``CrossEntropyLoss`` of ``hidden @ weight.T + bias``, without ever holding all logits.

    The head's weight and bias are passed to each call; the loss owns nothing. A backward can write their gradients
    directly into their buffers::

        loss, cache = loss_fn.forward(hidden, head.weight.data, targets)
        dhidden, *_ = loss_fn.backward(1.0, cache, into=(None, head.weight.into(), None, None))

    Args:
        label_smoothing: share of each target spread evenly over all V classes, in [0, 1].
        reduction: see ``Reduced``; the count of the mean is the sum of the targets' class weights.
        ignore_index: rows with this target add nothing.
        weight: (V,) weight of each class; 1 by default.
        z_loss: factor of the squared log-sum-exp of the logits.
        others_only: whether smoothing leaves out the target's own class and ``ignore_index``.
        chunk: number of rows whose logits are in memory at once.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str | None = None,
        ignore_index: int = NOTHING_IGNORED,
        weight: Any = None,
        z_loss: float = 0.0,
        others_only: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__(label_smoothing, reduction, ignore_index, weight, z_loss, others_only, chunk=chunk)

    def forward(
        self, hidden: Array, weight: Array, targets: Array, bias: Array | None = None, *, gradients: bool = True
    ) -> tuple[Any, LossCache]:
        """Compute the loss.

        Args:
            hidden: (..., C) input of the head.
            weight: (V, C) weight of the head.
            targets: (...,) integers in [0, V), or ``ignore_index``.
            bias: (V,) of the head, or ``None``.
            gradients: pass ``False`` in an evaluation, so that no gradients are computed.

        Returns:
            The loss, reduced, and the cache.
        """
        class_weight = fit(self, self.weight, hidden, weight.shape[:1])
        return self.reduce(
            *linear_cross_entropy_forward(
                hidden, weight, targets, bias, class_weight, gradients=gradients, each=self.each, **self.options
            )
        )

    def backward(
        self, dloss: Any, cache: LossCache, *, into: tuple[Target, Target, Target, Target] = (None, None, None, None)
    ) -> tuple[Array | None, Array | None, None, Array | None]:
        """Map dloss to dhidden (..., C), dweight (V, C), ``None`` for the targets and dbias (V,), as ``into`` says."""
        return linear_cross_entropy_backward(cache.scaled(dloss), cache.operation, into=(*into, None))[:4]
