"""The curves that rules read: those of a training without gaps and noise, and the losses known beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

History = Mapping[str, Sequence[float]]
Values = NDArray[np.float64]

FEW = 10
"""With fewer records than this nothing is said about the shape of a curve."""


class Diagnosis(NamedTuple):
    """A trouble that a history shows.

    Attributes:
        kind: its name: ``"not finite"``, ``"gradients add up"``, ``"exploding"``, ``"unstable"``, ``"too good"``,
            ``"wrong start"``, ``"dead units"``, ``"vanishing gradients"``, ``"turned back"``, ``"overfitting"``,
            ``"ignores its input"``, ``"rough start"``, ``"spike"``, ``"slow"`` or ``"plateau"``.
        metric: the metric that shows it.
        evidence: the observations, with numbers.
        cause: the likely cause.
        advice: things to look at, and things to change.
    """

    kind: str
    metric: str
    evidence: str
    cause: str
    advice: str

    @property
    def message(self) -> str:
        """Evidence, cause and advice as sentences."""
        cause, advice = (f"{part[0].upper()}{part[1:]}." for part in (self.cause, self.advice))
        return f"{self.evidence}. {cause} {advice}"


class LossLevels(NamedTuple):
    """Losses that can be known before a training, in nats; ``None`` for one that is not known.

    Attributes:
        guess: of guessing evenly among V classes, ln V. A new model begins there.
        blind: of a model that knows how frequent each target is, and nothing of the input.
        floor: the least that an honest model can reach, where targets are not certain: for labels of which a share is
            random, the entropy of that noise.
    """

    guess: float | None = None
    blind: float | None = None
    floor: float | None = None

    @classmethod
    def of(cls, targets: Any, classes: int, *, floor: float | None = None) -> LossLevels:
        """The levels of a classification, from its targets.

        Args:
            targets: integers of any shape; those outside ``0 ... classes - 1``, such as -100, do not count.
            classes: their number V.
            floor: see above.
        """
        flat = np.asarray(targets).reshape(-1)
        counts = np.bincount(flat[(flat >= 0) & (flat < classes)], minlength=classes)
        p = counts[counts > 0] / max(1, counts.sum())
        return cls(math.log(classes), float(-(p * np.log(p)).sum()) if p.size else None, floor)


class Curves(NamedTuple):
    """The curves of a training, prepared for the rules.

    Attributes:
        history: all metrics, as they were given.
        levels: the losses known beforehand.
        loss: finite values of ``train_loss``.
        val: finite values of ``val_loss``.
        norm: finite values of ``grad_norm``.
        smooth: running mean of ``loss`` over a tenth of it.
        noise: standard deviation of the noise of ``loss`` in its second half, or the last 20 values.
        fall: how far ``loss`` fell from its first value to the mean of its last fifth; 0 if it did not.
    """

    history: History
    levels: LossLevels
    loss: Values
    val: Values
    norm: Values
    smooth: Values
    noise: float
    fall: float

    @classmethod
    def of(cls, history: History, levels: LossLevels) -> Curves:
        """Prepare a history."""
        loss = finite(history.get("train_loss", ()))
        fall = max(0.0, float(loss[0] - last_part(loss, 5).mean())) if len(loss) else 0.0
        val, norm = finite(history.get("val_loss", ())), finite(history.get("grad_norm", ()))
        return cls(
            history, levels, loss, val, norm, running_mean(loss), noise_of(loss[-max(2 * FEW, len(loss) // 2) :]), fall
        )


def finite(values: Sequence[float]) -> Values:
    """The values that are numbers."""
    array = np.asarray(values, np.float64)
    return array[np.isfinite(array)]


def last_part(values: Values, parts: int) -> Values:
    """The last of ``parts`` equal parts, at least one value."""
    return values[-max(1, len(values) // parts) :]


def running_mean(values: Values) -> Values:
    """The means of each tenth of the values that can be cut out."""
    width = max(1, len(values) // 10)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    smooth: Values = (sums[width:] - sums[:-width]) / width
    return smooth


def noise_of(values: Values) -> float:
    """The standard deviation of what changes from value to value, by a median that a few jumps do not move."""
    if len(values) < 3:
        return 0.0
    return float(np.median(np.abs(np.diff(values)))) / (0.6745 * math.sqrt(2))


def growth(values: Values) -> float:
    """By what factor the last tenth is larger than the first tenth, by their medians."""
    width = max(3, len(values) // 10)
    return float(np.median(values[-width:])) / max(float(np.median(values[:width])), 1e-300)


def trend(values: Values) -> float:
    """Spearman's correlation of the values with their order: 1 if each is larger than the one before."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])
