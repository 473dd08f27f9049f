"""Statistics of measured values: medians, quartiles, ratios of values from the same round, exponents."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def spread(values: Iterable[float]) -> Spread:
    """Median and quartiles of one value or more."""
    values = sorted(values)
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def pairwise_ratio(numerator: Iterable[float], denominator: Iterable[float]) -> Spread:
    """Median and quartiles of the ratios of values from the same round."""
    return spread(a / b for a, b in zip(numerator, denominator, strict=True))


def lower_bound(groups: Sequence[Sequence[float]], confidence: float = 0.95, resamples: int = 2000) -> float:
    """A one-sided lower confidence bound of the median, by a cluster bootstrap.

    Values of one group share what the group met (a process and its memory), so whole groups are drawn with
    replacement, then values within each (Davison and Hinkley, *Bootstrap Methods*, 1997, section 3.8).

    Args:
        groups: the values, one sequence for each pair of processes.
        confidence: the share of resamples whose median lies above the bound.
        resamples: how many medians are drawn, from a fixed seed.
    """
    rng = random.Random(0)
    medians = sorted(
        statistics.median(
            value for group in rng.choices(groups, k=len(groups)) for value in rng.choices(group, k=len(group))
        )
        for _ in range(resamples)
    )
    return medians[int((1 - confidence) * resamples)]


def geometric_mean(values: Sequence[float]) -> float:
    """The n-th root of the product of n ratios; the mean of the inverse ratios is its inverse."""
    return math.exp(statistics.fmean(map(math.log, values)))


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The exponent with which a cost grows with the size: the least-squares slope of their logarithms.

    Raises:
        statistics.StatisticsError: if there are fewer than two sizes, or all are the same.
    """
    return statistics.linear_regression([math.log(x) for x in sizes], [math.log(y) for y in costs]).slope
