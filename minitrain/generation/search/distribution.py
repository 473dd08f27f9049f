"""Whole distributions: draws from them, and log-probabilities for scores."""

from __future__ import annotations

import numpy as np

from ...backend.arrays import Array
from ..choosing import check_highest, float_rows
from ..choosing import log_probabilities as row_log_probabilities


def normalized(weight: Array) -> Array:
    """``weight (..., V)`` divided by its sum over the last axis."""
    return weight / weight.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def draw(weight: Array, uniform: float) -> int:
    """A token by inverse transform: the first whose cumulative weight exceeds the number's share of the whole.

    Args:
        weight: (V,) float64, 0 or more, not all 0.
        uniform: a number in [0, 1).
    """
    share = np.cumsum(weight)
    return int(share.searchsorted(uniform * share[-1], side="right"))


def log_probabilities(logits: Array) -> Array:
    """The logarithm of softmax, in float64 on the CPU. Each row is computed alone, so its bits depend on no other one.

    Args:
        logits: (M, V) floats on any device; ``-inf`` bans a token.

    Raises:
        NonFiniteError: if a row holds NaN or +inf, or bans every token.
    """
    logits = float_rows(logits)
    for row in logits:
        check_highest(row.max())
    return np.stack([row_log_probabilities(row) for row in logits])
