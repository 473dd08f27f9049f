"""Cross-entropy and unlikelihood in one: each target is to be predicted, or not to be (Welleck et al., 2019)."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend.arrays import Array, array_module, to_numpy
from ..errors import ConfigError, ShapeError
from ..ops.classification.cross_entropy import CrossEntropyCache, cross_entropy_backward, cross_entropy_forward
from ..ops.classification.unlikelihood import UnlikelihoodCache, unlikelihood_backward, unlikelihood_forward
from ..ops.contract.loss import Loss
from .base import LossFunction
from .classification import NOTHING_IGNORED, CrossEntropyLoss

UNWANTED = -1000
"""An unwanted class c is the target ``UNWANTED - c``."""


def as_unwanted(classes: Array) -> Array:
    """The targets that say of classes (...,) that they should not be predicted."""
    return UNWANTED - classes


class UnlikelihoodCaches(NamedTuple):
    """Saved for the backward."""

    wanted: CrossEntropyCache
    unwanted: list[tuple[Any, UnlikelihoodCache]]  # of each column of targets: its rows, and their cache


class UnlikelihoodLoss(LossFunction):
    """Cross-entropy of wanted classes plus unlikelihood of unwanted ones (Welleck et al., 2019, arXiv:1908.04319).

    A target c says that class c should be predicted, and ``as_unwanted(c)`` that it should not. With one target in each
    row, passages are wanted or unwanted as a whole. With several, such as the next token and tokens that must not come
    next, the first is wanted or unwanted, the others are all unwanted or ignored.

    An evaluation measures the cross-entropy of the wanted targets alone.

    Args:
        alpha: weight of the unlikelihood, at least 0.
        reduction: see ``Reduced``; the count of the mean is the number of wanted and of unwanted targets, unweighted.
        ignore_index: targets with this value add nothing.

    Example:
        ```python
        loss_fn = UnlikelihoodLoss(alpha=0.5)
        targets = np.where(passage_is_bad[:, None], as_unwanted(tokens), tokens)  # (B, T)
        loss, cache = loss_fn.forward(logits, targets)
        ```
    """

    is_likelihood = True  # what an evaluation measures is one

    def __init__(self, alpha: float = 1.0, reduction: str | None = None, ignore_index: int = NOTHING_IGNORED) -> None:
        super().__init__(reduction, alpha=alpha)
        if not alpha >= 0:
            raise ConfigError(f"UnlikelihoodLoss: alpha={alpha} must not be negative")
        if ignore_index <= UNWANTED:
            raise ConfigError(f"UnlikelihoodLoss: ignore_index={ignore_index} must be above {UNWANTED}")
        self.alpha, self.ignore_index = alpha, ignore_index

    def plain(self) -> Any:
        """The cross-entropy of the wanted targets."""
        return _WantedOnly(reduction=self.reduction, ignore_index=self.ignore_index)

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, UnlikelihoodCaches]:
        xp = array_module(outputs)
        columns = targets if targets.ndim == outputs.ndim else targets[..., None]  # (..., K)
        loss, cache = cross_entropy_forward(
            outputs, _wanted(columns[..., 0], self.ignore_index), ignore_index=self.ignore_index, each=each
        )
        total, count, caches = loss.total, loss.count, []
        for k in range(columns.shape[-1]):
            rows = xp.nonzero(columns[..., k] <= UNWANTED)  # few rows have an unwanted class
            if k and not to_numpy(((columns[..., k] <= UNWANTED) | (columns[..., k] == self.ignore_index)).all()):
                raise ShapeError("UnlikelihoodLoss: of several targets in a row, only the first may be wanted")
            unlikely, rows_cache = unlikelihood_forward(outputs[rows], UNWANTED - columns[..., k][rows], each=each)
            caches.append((rows, rows_cache))
            count = count + unlikely.count
            if each:
                total = total.copy()
                total[rows] += self.alpha * unlikely.total
            else:
                total = total + self.alpha * unlikely.total
        return Loss(total.astype(outputs.dtype), count), UnlikelihoodCaches(cache, caches)

    def _backward(self, dtotal: Any, cache: UnlikelihoodCaches) -> Array:
        doutputs = cross_entropy_backward(dtotal, cache.wanted)[0]
        per_row = getattr(dtotal, "shape", ()) != ()
        for rows, rows_cache in cache.unwanted:
            share = self.alpha * (dtotal[rows] if per_row else dtotal)
            doutputs[rows] += unlikelihood_backward(share, rows_cache)[0]
        return doutputs


class _WantedOnly(CrossEntropyLoss):
    """Cross-entropy that leaves unwanted targets out."""

    def _forward(self, outputs: Array, targets: Array, each: bool) -> tuple[Loss, Any]:
        first = targets[..., 0] if targets.ndim == outputs.ndim else targets
        return super()._forward(outputs, _wanted(first, self.ignore_index), each)


def _wanted(targets: Array, ignore_index: int) -> Any:
    return array_module(targets).where(targets <= UNWANTED, ignore_index, targets)
