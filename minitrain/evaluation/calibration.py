"""Calibration: whether a model that is sure of its prediction in 80 of 100 cases is right in 80 of 100 cases."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..backend.arrays import Array
from ..errors import ConfigError

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

    def add(self, confidence: Array, hit: Array) -> None:
        """Add predictions.

        Args:
            confidence: (M,) probabilities, above 0 and at most 1.
            hit: (M,) booleans: whether the most likely token came.
        """
        where = np.ceil(confidence * self.bins).astype(np.int64) - 1  # (M,)
        where = np.minimum(where, self.bins - 1)  # rounding may put a confidence a little above 1
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
