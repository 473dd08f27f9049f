"""How well two modalities are aligned: the similarity of matching pairs next to that of all pairs of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..backend.arrays import Array
from .base import Measures
from .embeddings import Features, both_sides, directions
from .retrieval import Retrieval

KS = (1, 5)
"""Places among which the right one is looked for."""


def pair_measures(groups: Callable[[Any], Array] | None = None) -> dict[str, Measures]:
    """The measures of pairs, by the names that records have: recall in both directions, and alignment.

    Args:
        groups: finds an array (B,) in a batch that is equal where texts are; see `Retrieval`.
    """
    return {"recall": partial(Retrieval, KS, groups=groups), "alignment": Alignment}


class Alignment:
    """The cosines of all pairs of a data set, without computing them: memory is ``C**2``, whatever N is.

    With u and v the directions of the two sides, ``s[i, j] = u[i] v[j]`` are the cosines of all N**2 pairs::

        diag_mean = mean of s[i, i]        what belongs together
        sim_mean  = mean of s[i, j]        = mean(u) mean(v)
        gap       = diag_mean - sim_mean
        snr       = gap / std of s[i, j]   the gap in standard deviations

    The variance follows from the means and covariances: ``var(s) = tr(Cu Cv) + mean(u) Cv mean(u) + mean(v) Cu
    mean(v)``, for the mixed terms of ``s = (u - mean(u) + mean(u)) (v - mean(v) + mean(v))`` have a mean of zero.
    The covariances of batches are joined as in Chan, Golub and LeVeque (1979), which loses no digits.

    Args:
        features: finds the features of both sides in outputs and a batch.
    """

    def __init__(self, *, features: Features = both_sides) -> None:
        self.features = features
        self.samples, self._diagonal = 0, 0.0
        self._u, self._v = _Moments(), _Moments()

    def update(self, outputs: Any, batch: Any) -> None:
        """Add the pairs of a batch."""
        u, v = map(directions, self.features(outputs, batch))  # (B, C)
        self.samples += len(u)
        self._diagonal += float((u * v).sum())
        self._u.add(u)
        self._v.add(v)

    def result(self) -> dict[str, float]:
        """``diag_mean``, ``sim_mean``, ``gap`` and ``snr``, as `MetricsCollector.update_alignment_metrics` has them."""
        if not self.samples:
            return {}
        (u, Cu), (v, Cv) = (side.moments() for side in (self._u, self._v))
        own, mean = self._diagonal / self.samples, float(u @ v)
        variance = float((Cu * Cv).sum() + u @ Cv @ u + v @ Cu @ v)
        gap, spread = own - mean, math.sqrt(max(0.0, variance))
        return {"diag_mean": own, "sim_mean": mean, "gap": gap, "snr": gap / max(spread, 1e-12)}


class _Moments:
    """The mean (C,) and the covariance (C, C) of vectors that come in batches."""

    mean: Array
    squares: Array

    def __init__(self) -> None:
        self.count = 0

    def add(self, vectors: Array) -> None:
        """Add vectors (B, C)."""
        B = len(vectors)
        if not B:
            return
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        squares = centred.T @ centred
        if not self.count:
            self.count, self.mean, self.squares = B, mean, squares
            return
        total, away = self.count + B, mean - self.mean
        self.squares = self.squares + squares + np.outer(away, away) * (self.count * B / total)
        self.mean = self.mean + away * (B / total)
        self.count = total

    def moments(self) -> tuple[Array, Array]:
        """The mean and the covariance."""
        return self.mean, self.squares / self.count
