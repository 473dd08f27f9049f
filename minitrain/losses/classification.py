"""Losses of classification: over classes (logits (..., V), integer targets (...,)) and over binary labels."""

from __future__ import annotations

from typing import Any, Self

from ..backend.arrays import Array
from ..ops.classification.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from ..ops.classification.binary_focal import binary_focal_backward, binary_focal_forward
from ..ops.classification.cross_entropy import cross_entropy_backward, cross_entropy_forward
from ..ops.classification.focal import focal_backward, focal_forward
from ..ops.classification.hinge import hinge_backward, hinge_forward
from ..ops.contract.loss import Loss
from .base import LossFunction, Reduced, as_weight, fit

NOTHING_IGNORED = -100  # PyTorch's default: no class has this index


class SmoothedLoss(Reduced):
    """The settings of a cross-entropy; see `CrossEntropyLoss`."""

    classifies = True

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str | None = None,
        ignore_index: int = NOTHING_IGNORED,
        weight: Any = None,
        z_loss: float = 0.0,
        others_only: bool = False,
        **numbers: float,
    ) -> None:
        super().__init__(reduction, label_smoothing=label_smoothing, z_loss=z_loss, **numbers)
        self.weight = as_weight(weight)
        self.options: dict[str, Any] = {
            "label_smoothing": label_smoothing,
            "ignore_index": ignore_index,
            "z_loss": z_loss,
            "others_only": others_only,
            **numbers,
        }

    @property
    def ignore_index(self) -> int:
        """The target that is ignored."""
        return self.options["ignore_index"]  # type: ignore[no-any-return]

    @property
    def is_likelihood(self) -> bool:  # type: ignore[override]
        """Whether there are no class weights: with weights it is not a likelihood."""
        return self.weight is None

    def plain(self) -> Self:
        """The loss without label smoothing and without z-loss."""
        if not self.options["label_smoothing"] and not self.options["z_loss"]:
            return self
        return self._changed(options=self.options | {"label_smoothing": 0.0, "z_loss": 0.0})


class CrossEntropyLoss(SmoothedLoss, LossFunction):
    """Softmax cross-entropy of logits (..., V) and classes (...,).

    Label smoothing and the z-loss are for training. In an evaluation, trainers measure ``plain()``, the loss without
    them.

    Args:
        label_smoothing: share of each target spread evenly over all V classes, in [0, 1], as in PyTorch.
        reduction: see ``Reduced``; the count of the mean is the sum of the targets' class weights.
        ignore_index: rows with this target add nothing.
        weight: (V,) weight of each class; 1 by default.
        z_loss: factor of the squared log-sum-exp of the logits, at least 0 (1e-4 in PaLM: Chowdhery et al., 2022,
            arXiv:2204.02311). A row's class weight applies to it too.
        others_only: whether smoothing leaves out the target's own class and ``ignore_index``, see ``LabelSmoothing``.
    """

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        weight = fit(self, self.weight, outputs, outputs.shape[-1:])
        return cross_entropy_forward(outputs, targets, weight, each=each, **self.options)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return cross_entropy_backward(dtotal, cache)[0]


class LabelSmoothing(CrossEntropyLoss):
    """Cross-entropy with smoothed targets, for sequences with padding.

    By default smoothing is spread over all V classes, padding included: the target's class gets
    ``1 - smoothing + smoothing / V`` and every other class ``smoothing / V``. That is the rule of Szegedy et al. (2016,
    arXiv:1512.00567) and of PyTorch, where this loss is called
    ``CrossEntropyLoss(label_smoothing=smoothing, ignore_index=pad_idx)``. With ``others_only`` it is the rule of The
    Annotated Transformer (Rush, 2018): the target's class gets ``1 - smoothing``, padding nothing, and the other
    V - 2 classes (V - 1 without padding) share the rest evenly.

    Positions whose target is padding add nothing to total, count or gradient.

    Args:
        smoothing: share of each target that is spread, in [0, 1].
        pad_idx: id of the padding token; ``None`` if there is none.
        reduction: see ``Reduced``; the count of the mean is the number of targets that are not padding.
        others_only: whether padding and the target's class get no share of the smoothing.
    """

    def __init__(
        self,
        smoothing: float = 0.1,
        pad_idx: int | None = 0,
        reduction: str | None = None,
        others_only: bool = False,
    ) -> None:
        ignored = NOTHING_IGNORED if pad_idx is None else pad_idx
        super().__init__(smoothing, reduction, ignored, others_only=others_only)


class FocalLoss(LossFunction):
    """Focal loss of logits (..., V) and classes (...,): cross-entropy with less weight on likely targets.

    An evaluation measures the focal loss itself. It is not a likelihood, so it has no perplexity.

    Args:
        gamma: focusing parameter, at least 0; 0 gives cross-entropy.
        alpha: (V,) weight of each class; 1 by default.
        reduction: see ``Reduced``; the count of the mean is the number of rows that are not ignored.
        ignore_index: rows with this target add nothing.
    """

    classifies = True

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: Any = None,
        reduction: str | None = None,
        ignore_index: int = NOTHING_IGNORED,
    ) -> None:
        super().__init__(reduction, gamma=gamma)
        self.gamma = gamma
        self.alpha = as_weight(alpha)
        self.ignore_index = ignore_index

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        alpha = fit(self, self.alpha, outputs, outputs.shape[-1:])
        return focal_forward(outputs, targets, alpha, gamma=self.gamma, ignore_index=self.ignore_index, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return focal_backward(dtotal, cache)[0]


class BinaryFocalLoss(LossFunction):
    """Focal loss of log-odds (...,) and labels (...,), integers 0 or 1.

    Args:
        gamma: focusing parameter, at least 0; 0 gives cross-entropy.
        alpha: weight of labels 1, in [0, 1]; labels 0 have weight ``1 - alpha``. ``None`` means 1 for both.
        reduction: see ``Reduced``.
    """

    def __init__(self, gamma: float = 2.0, alpha: float | None = 0.25, reduction: str | None = None) -> None:
        super().__init__(reduction, gamma=gamma, alpha=alpha)
        self.gamma = gamma
        self.alpha = alpha

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        return binary_focal_forward(outputs, targets, gamma=self.gamma, alpha=self.alpha, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return binary_focal_backward(dtotal, cache)[0]


class BinaryCrossEntropyLoss(LossFunction):
    """Cross-entropy of log-odds (..., C) and probabilities (..., C); each column is a separate binary label.

    Args:
        reduction: see ``Reduced``.
        pos_weight: weight of the positive class, broadcasts to (C,); 1 by default.
    """

    def __init__(self, reduction: str | None = None, pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.pos_weight = as_weight(pos_weight)

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        pos_weight = fit(self, self.pos_weight, outputs, outputs.shape[-1:])
        return binary_cross_entropy_forward(outputs, targets, pos_weight, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return binary_cross_entropy_backward(dtotal, cache)[0]


class HingeLoss(LossFunction):
    """``max(0, margin - y f)`` of scores f (...,) and targets y (...,), integers -1 or +1.

    Args:
        margin: how far a score must be on the right side of 0 to have no loss.
        reduction: see ``Reduced``.
    """

    def __init__(self, margin: float = 1.0, reduction: str | None = None) -> None:
        super().__init__(reduction, margin=margin)
        self.margin = margin

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        return hinge_forward(outputs, targets, margin=self.margin, each=each)

    def _backward(self, dtotal: Any, cache: Any) -> Array:
        return hinge_backward(dtotal, cache)[0]
