"""Ranks that compute the same do not take the same time, and all wait for the slowest."""

from __future__ import annotations

import functools
from statistics import NormalDist

import numpy as np

_STANDARD = NormalDist()


@functools.cache
def expected_maximum(count: int) -> float:
    """The expected largest of ``count`` independent standard normal numbers.

    It is the integral of ``1 - F(x)**n - F(-x)**n`` over positive x, by the trapezoidal rule; F is the normal
    distribution. It grows like ``sqrt(2 ln n)``: slowly, and without a bound.

    Example:
        >>> [round(expected_maximum(count), 3) for count in (1, 2, 8, 4096)]
        [0.0, 0.564, 1.424, 3.509]
    """
    points = np.linspace(0.0, 9.0, 3601)
    above = np.array([1.0 - _STANDARD.cdf(x) ** count - _STANDARD.cdf(-x) ** count for x in points.tolist()])
    return float(np.sum((above[1:] + above[:-1]) / 2) * (points[1] - points[0]))


def slowest(seconds: float, variation: float, ranks: int) -> float:
    """The expected time of the slowest rank.

    Args:
        seconds: mean time of a rank.
        variation: standard deviation of it from step to step, as a share of the mean; independent between ranks.
        ranks: how many.
    """
    return seconds * (1.0 + variation * expected_maximum(ranks))
