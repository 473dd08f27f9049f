"""The confusion matrix of a classifier, with precision, recall and F1 of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..data.loading.batches import IGNORED
from ..errors import ConfigError
from .base import SampleMeasure, as_rows
from .fields import Targets, counted, targets_of

MOST_CLASSES = 10_000
"""The matrix of so many classes takes 800 MB."""


class ClassScores(NamedTuple):
    """Precision, recall and F1 of each class; 0 where a quotient has no denominator.

    Attributes:
        precision: (V,) of the predictions of a class, the share that is right.
        recall: (V,) of the targets of a class, the share that was predicted.
        f1: (V,) the harmonic mean of the two.
        support: (V,) the number of targets of a class.
    """

    precision: Array
    recall: Array
    f1: Array
    support: Array


def class_scores(matrix: Array) -> ClassScores:
    """The scores of the classes of a confusion matrix (V, V), whose rows are targets and columns predictions."""
    right, support, predicted = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(
        right / np.maximum(predicted, 1),
        right / np.maximum(support, 1),
        2 * right / np.maximum(support + predicted, 1),
        support,
    )


class ConfusionMatrix(SampleMeasure):
    """How often each class was taken for which: the matrix, and the precision, recall and F1 that follow from it.

    ``macro`` is the mean over the classes that occur, as a target or a prediction. ``weighted`` weighs a class by its
    targets. ``micro`` pools all decisions; where each target has one prediction, it is the accuracy.

    The matrix takes ``8 V**2`` bytes. A target counts as a sample of its own, so ``rows`` has as many rows as there are
    targets: for one target per sample, those of the samples.

    Args:
        classes: V, the number of classes, or their names.
        per_class: whether the results have the precision, recall and F1 of every class too.
        ignore_index: the target that does not count.
        targets: finds the targets (...,) of a batch; outputs are scores (..., V).

    Raises:
        ConfigError: if there are fewer than 2 classes or too many.
    """

    kind = "confusion"

    def __init__(
        self,
        classes: int | Sequence[str],
        *,
        per_class: bool = False,
        ignore_index: int = IGNORED,
        targets: Targets = targets_of,
    ) -> None:
        self.names = [str(c) for c in (range(classes) if isinstance(classes, int) else classes)]
        if not 2 <= len(self.names) <= MOST_CLASSES:
            raise ConfigError(f"ConfusionMatrix: {len(self.names)} classes; there must be from 2 to {MOST_CLASSES:,}")
        self.per_class, self.ignore_index, self.targets = per_class, ignore_index, targets

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The class and the prediction of each target, (M, 2); a target that does not count has -1 for both.

        Raises:
            ConfigError: if the outputs have another number of classes.
            DataError: if a target is no class.
        """
        V = len(self.names)
        if outputs.shape[-1] != V:
            raise ConfigError(f"ConfusionMatrix: the outputs have {outputs.shape[-1]} classes, the measure has {V}")
        targets = self.targets(batch)
        counts = to_numpy(counted(targets, self.ignore_index, V)).reshape(-1)
        pairs = as_rows(to_numpy(targets).reshape(-1), to_numpy(outputs.argmax(axis=-1)).reshape(-1))  # (M, 2)
        pairs[~counts] = -1
        return pairs

    def sums(self, rows: Array, weights: Array | None = None) -> Array:
        """Count the pairs: (M, 2) to (V V,)."""
        V, counts = len(self.names), rows[:, 0] >= 0
        pairs = (rows[counts] @ np.array([V, 1.0])).astype(np.int64)  # (M,)
        given = None if weights is None else weights[counts]
        return np.bincount(pairs, given, V * V).astype(np.float64)

    def matrix(self, sums: Array) -> Array:
        """The confusion matrix (V, V): targets are rows, predictions columns."""
        V = len(self.names)
        return sums.reshape(V, V)

    def value(self, sums: Array) -> dict[str, float]:
        """``accuracy``, and ``precision_macro`` and so on; with ``per_class`` also ``f1_NAME`` and so on."""
        total = sums.sum()
        if not total:
            return {}
        matrix = self.matrix(sums)
        scores = class_scores(matrix)
        occurs = (scores.support + matrix.sum(axis=0)) > 0
        right = float(np.trace(matrix) / total)
        found = {"accuracy": right}
        for name in ("precision", "recall", "f1"):
            each: Array = getattr(scores, name)
            found[f"{name}_macro"] = float(each[occurs].mean())
            found[f"{name}_micro"] = right
            found[f"{name}_weighted"] = float((each * scores.support).sum() / total)
            if self.per_class:
                found |= {f"{name}_{label}": float(value) for label, value in zip(self.names, each, strict=True)}
        return found

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"classes": self.names, "per_class": self.per_class}


class MacroF1(ConfusionMatrix):
    """The mean F1 of the classes that occur, as one number; see `ConfusionMatrix`.

    Args:
        classes: V, the number of classes, or their names.
        ignore_index: the target that does not count.
        targets: finds the targets (...,) of a batch; outputs are scores (..., V).

    Raises:
        ConfigError: if there are fewer than 2 classes or too many.
    """

    kind = "macro_f1"

    def __init__(
        self, classes: int | Sequence[str], *, ignore_index: int = IGNORED, targets: Targets = targets_of
    ) -> None:
        super().__init__(classes, ignore_index=ignore_index, targets=targets)

    def value(self, sums: Array) -> dict[str, float]:
        """The mean, from 0 to 1."""
        found = super().value(sums)
        return {"": found["f1_macro"]} if found else {}

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"classes": self.names}
