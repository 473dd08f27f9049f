"""Calibration: whether a model that is sure of its prediction in 80 of 100 cases is right in 80 of 100 cases."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from ..backend.arrays import Array
from ..data.loading.batches import IGNORED
from ..errors import ConfigError
from .base import SampleMeasure
from .fields import Targets, targets_of
from .predictions import counted_predictions

MOST_BINS = 10_000


class Bin(NamedTuple):
    """Predictions of similar confidence.

    Attributes:
        above: the confidence is greater than this,
        to: and at most this.
        predictions: how many there are.
        confidence: their mean confidence; NaN if there are none.
        accuracy: how many of them were right, from 0 to 1; NaN if there are none.
    """

    above: float
    to: float
    predictions: int
    confidence: float
    accuracy: float


class Calibration:
    """Collects predictions in bins of equal width by their confidence, the probability of the most likely token.

    The method is that of Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017, arXiv:1706.04599).

    Args:
        bins: number of bins M; bin m has the confidences in ((m - 1) / M, m / M].

    Raises:
        ConfigError: if there is no bin, or too many.
    """

    def __init__(self, bins: int = 15) -> None:
        if not 1 <= bins <= MOST_BINS:
            raise ConfigError(f"bins={bins} must be from 1 to {MOST_BINS:,}; 15 are usual")
        self.bins = bins
        self.counts = np.zeros(bins, np.int64)
        self._confidence = np.zeros(bins)
        self._hits = np.zeros(bins)

    @classmethod
    def of_sums(cls, sums: Array) -> Self:
        """The calibration that the sums (3 M,) of a `CalibrationError` stand for."""
        made = cls(len(sums) // 3)
        counts, made._confidence, made._hits = sums.reshape(3, -1)
        made.counts = counts.astype(np.int64)
        return made

    def bin_of(self, confidence: Array) -> Array:
        """The index of the bin of each confidence (M,)."""
        where = np.ceil(confidence * self.bins).astype(np.int64) - 1  # (M,)
        bins: Array = np.minimum(where, self.bins - 1)  # rounding may put a confidence a little above 1
        return bins

    def add(self, confidence: Array, hit: Array) -> None:
        """Add predictions.

        Args:
            confidence: (M,) probabilities, above 0 and at most 1.
            hit: (M,) booleans: whether the most likely token came.
        """
        where = self.bin_of(confidence)
        self.counts += np.bincount(where, minlength=self.bins)
        self._confidence += np.bincount(where, weights=confidence, minlength=self.bins)
        self._hits += np.bincount(where, weights=hit, minlength=self.bins)

    @property
    def expected_error(self) -> float:
        """The expected calibration error: the mean gap between accuracy and confidence, weighted by the counts."""
        return float(abs(self._hits - self._confidence).sum() / max(1, self.counts.sum()))

    def table(self) -> list[Bin]:
        """All bins, from the least confident on: the reliability diagram as numbers."""
        with np.errstate(invalid="ignore"):
            confidence, accuracy = self._confidence / self.counts, self._hits / self.counts
        return [
            Bin(m / self.bins, (m + 1) / self.bins, int(self.counts[m]), float(confidence[m]), float(accuracy[m]))
            for m in range(self.bins)
        ]


class CalibrationError(SampleMeasure):
    """The expected calibration error of a classifier or language model, in bins of equal width.

    Its sums are a `Calibration`: ``Calibration.of_sums(running.sums).table()`` is the reliability diagram in numbers.

    Args:
        bins: number of bins M.
        ignore_index: the target that does not count.
        targets: finds the targets (...,) of a batch; outputs are logits (..., V).

    Raises:
        ConfigError: if there is no bin, or too many.
    """

    kind = "calibration"

    def __init__(self, bins: int = 15, *, ignore_index: int = IGNORED, targets: Targets = targets_of) -> None:
        self._bins = Calibration(bins)  # checks their number
        self.ignore_index, self.targets = ignore_index, targets

    def rows(self, outputs: Any, batch: Any) -> Array:
        """For each sample, the predictions in each bin, the sums of their confidences, and the hits: (B, 3 M).

        Raises:
            DataError: if a target is no class.
            NonFiniteError: if a row of logits holds NaN or +inf, or bans every class.
        """
        found, sample, samples = counted_predictions(outputs, self.targets(batch), self.ignore_index)
        M = self._bins.bins
        cells = sample * M + self._bins.bin_of(found.confidence)  # (M,)
        columns = [np.bincount(cells, values, samples * M) for values in (None, found.confidence, found.hit)]
        return np.concatenate([np.reshape(column, (samples, M)) for column in columns], axis=1)

    def value(self, sums: Array) -> dict[str, float]:
        """The error, from 0 to 1."""
        calibration = Calibration.of_sums(sums)
        return {"": calibration.expected_error} if calibration.counts.any() else {}

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"bins": self._bins.bins}
