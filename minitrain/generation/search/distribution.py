"""From logits to whole distributions: what sampling draws from, and log-probabilities for scores."""

from __future__ import annotations

import numpy as np

from ...backend.arrays import Array, to_numpy
from ..choosing import check_highest, choose, cuts_of, weigh
from ..choosing import log_probabilities as row_log_probabilities
from ..params import SamplingParams


def weights(logits: Array, params: SamplingParams) -> Array:
    """The distribution of the next token, up to a factor of each row.

    Args:
        logits: (M, V) floats on any device; ``-inf`` bans a token.
        params: its temperature and cuts count, such as ``top_k`` and ``top_p``. At temperature 0 the most likely token
            has all the weight.

    Returns:
        (M, V) float64 on the CPU. `draw` gives the token that sampling draws with the same number.

    Raises:
        NonFiniteError: if a row holds NaN or +inf, or bans every token.
    """
    logits, cuts = to_numpy(logits), cuts_of(params)
    weight: Array = np.zeros(logits.shape)
    for m, row in enumerate(logits):
        if params.temperature == 0:
            weight[m, choose(row, 0, cuts, 0.0)] = 1
        else:
            ids, kept = weigh(row, params.temperature, cuts)
            weight[m, slice(None) if ids is None else ids] = kept
    return weight


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
    logits = to_numpy(logits)
    for row in logits:
        check_highest(row.max())
    return np.stack([row_log_probabilities(row) for row in logits])
