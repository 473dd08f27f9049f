"""Bootstrap intervals: how far a value would vary with other samples of the same kind.

Samples are drawn again, with replacement, and the value is computed anew each time (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993). The rows of a `SampleTable` are enough for that, for BLEU too. Such an interval
knows nothing of what another seed or more training would change.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...errors import ConfigError, DataError
from .table import SampleTable

METHODS = ("bca", "percentile")
JACKKNIFE_GROUPS = 200
"""The acceleration of BCa leaves out one sample at a time, or one of so many groups of samples if there are more."""


class Interval(NamedTuple):
    """A value with an interval.

    Attributes:
        value: over all samples.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def intervals(
    table: SampleTable, *, level: float = 0.95, resamples: int = 2000, method: str = "bca", seed: int = 0
) -> dict[str, Interval]:
    """Bootstrap intervals of all values of a table.

    Args:
        table: the rows of N >= 2 samples.
        level: how often such an interval holds the true value.
        resamples: how often the samples are drawn anew.
        method: ``"bca"``, which corrects bias and skew (Efron, 1987), or ``"percentile"``.
        seed: of the draws; equal seeds give equal intervals.

    Raises:
        ConfigError: if a setting is out of range.
        DataError: if there are fewer than two samples.
    """
    check_resampling(table, level, resamples)
    if method not in METHODS:
        raise ConfigError(f"method={method!r}; use {' or '.join(map(repr, METHODS))}")
    values = table.values()
    drawn = [table_values(table, weights) for weights in draws(len(table), resamples, seed)]
    left_out = [] if method == "percentile" else [table_values(table, weights) for weights in _leaving_out(len(table))]
    found = {}
    for name, value in values.items():
        distribution = np.array([one[name] for one in drawn if name in one])
        others = np.array([one[name] for one in left_out if name in one])
        found[name] = Interval(value, *interval_of(distribution, value, level, others))
    return found


def interval_of(distribution: Array, value: float, level: float, left_out: Array) -> tuple[float, float]:
    """The ends of an interval.

    Args:
        distribution: (R,) values of samples that were drawn anew.
        value: of all samples.
        level: of the interval.
        left_out: (G,) values without one sample, or one group of samples, each; empty for the percentile interval.
    """
    from scipy.special import ndtr, ndtri

    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if len(left_out):
        # The bias: how much of the distribution lies below the value; of what is equal, half.
        below = ((distribution < value).mean() + (distribution <= value).mean()) / 2
        away = left_out.mean() - left_out
        spread = (away**2).sum()
        acceleration = (away**3).sum() / (6 * spread**1.5) if spread else 0.0
        if 0 < below < 1:
            bias = ndtri(below)
            z = bias + ndtri(tails)
            tails = ndtr(bias + z / (1 - acceleration * z))
    low, high = np.quantile(distribution, tails).tolist()
    return low, high


def draws(samples: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each of the samples is drawn, (N,) float64, again and again."""
    init_rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(init_rng.integers(0, samples, samples), minlength=samples).astype(np.float64)


def table_values(table: SampleTable, weights: Array) -> dict[str, float]:
    """The values of a table in which each sample counts as often as its weight (N,) says."""
    return {
        "_".join(filter(None, (name, key))): value
        for name, measure in table.measures.items()
        for key, value in measure.value(measure.sums(table.rows[name], weights)).items()
    }


def check_resampling(table: SampleTable, level: float, resamples: int) -> None:
    """Raise an error unless there are samples and draws for an interval."""
    if not 0 < level < 1:
        raise ConfigError(f"level={level} must be between 0 and 1, such as 0.95")
    if resamples < 1:
        raise ConfigError(f"resamples={resamples} must be at least 1; 1,000 and more are usual")
    if len(table) < 2:
        raise DataError(f"there are {len(table)} samples: noise can be measured from two samples on")


def _leaving_out(samples: int) -> Iterator[Array]:
    """Weights (N,) without one sample each; without every 200th sample if there are more."""
    groups = min(samples, JACKKNIFE_GROUPS)
    for first in range(groups):
        weights = np.ones(samples)
        weights[first::groups] = 0
        yield weights
