"""How often the right class has the highest score, or one of the k highest."""

from __future__ import annotations

from typing import Any

from ..backend.arrays import Array, array_module, to_number
from ..data.loading.batches import IGNORED
from ..errors import ConfigError
from .base import SampleMeasure, as_rows, ratio
from .fields import Targets, counted, per_sample, targets_of


def accuracy(outputs: Any, batch: Any, ignore_index: int = IGNORED) -> tuple[float, float]:
    """How many targets (...,) have the highest of the outputs (..., V), and how many targets count."""
    targets = targets_of(batch)
    counts = targets != ignore_index
    right = (outputs.argmax(axis=-1) == targets) & counts
    return to_number(right.sum()), to_number(counts.sum())


class TopK(SampleMeasure):
    """The share of targets whose score is among the k highest. Of equal scores, the class with the lower number leads.

    So ``TopK(1)`` is the accuracy of ``argmax``. A NaN counts as a higher score than any target's.

    Args:
        k: how many classes may be named, at least 1.
        ignore_index: the target that does not count.
        targets: finds the targets (...,) of a batch; outputs are scores (..., V).

    Raises:
        ConfigError: if k is below 1.
    """

    kind = "top_k"

    def __init__(self, k: int = 5, *, ignore_index: int = IGNORED, targets: Targets = targets_of) -> None:
        if k < 1:
            raise ConfigError(f"TopK: k={k} must be at least 1")
        self.k, self.ignore_index, self.targets = k, ignore_index, targets

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The right and the counted targets of each sample: (B, 2).

        Raises:
            DataError: if a target is no class.
        """
        return self.hits(outputs, self.targets(batch))

    def hits(self, scores: Array, targets: Array) -> Array:
        """``rows`` of scores (B, ..., V) and targets (B, ...)."""
        counts = counted(targets, self.ignore_index, scores.shape[-1])
        right = (rank(scores, targets * counts) < self.k) & counts
        return as_rows(per_sample(right), per_sample(counts))

    def value(self, sums: Array) -> dict[str, float]:
        """The share, from 0 to 1."""
        return ratio(sums[0], sums[1])

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"k": self.k}


class Accuracy(TopK):
    """The share of targets that have the highest score, from 0 to 1.

    Args:
        ignore_index: the target that does not count.
        targets: finds the targets (...,) of a batch; outputs are scores (..., V).
    """

    kind = "accuracy"

    def __init__(self, *, ignore_index: int = IGNORED, targets: Targets = targets_of) -> None:
        super().__init__(1, ignore_index=ignore_index, targets=targets)

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {}


def rank(scores: Array, targets: Array) -> Array:
    """How many classes stand before the target: (..., V) scores and (...,) classes to (...,) integers.

    Those that do not have a lower score stand before it, but for equal ones with a higher number.
    """
    xp = array_module(scores)
    own = xp.take_along_axis(scores, targets[..., None], axis=-1)  # (..., 1)
    after = (scores == own) & (xp.arange(scores.shape[-1]) >= targets[..., None])  # itself too
    before: Array = (~(scores < own) & ~after).sum(axis=-1)
    return before
