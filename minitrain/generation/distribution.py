"""From logits to probabilities: the distribution that sampling draws from, and log-probabilities for scores."""

from __future__ import annotations

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..errors import NonFiniteError
from .sampling import _cut, check_settings


def weights(logits: Array, temperature: float, top_k: int | None, top_p: float | None) -> Array:
    """The distribution of `sample_logits`, up to a factor of each row.

    Args:
        logits: (M, V) floats on any device; ``-inf`` bans a token.
        temperature: 0 or more; 0 gives the most likely token, of equal ones the one with the lowest id.
        top_k: keep this many tokens; ``None`` keeps all.
        top_p: keep this share of the probability; ``None`` keeps all.

    Returns:
        (M, V) float64 on the CPU; the most likely token of a row has weight 1.

    Raises:
        ConfigError: if a setting is out of range.
        NonFiniteError: if a row holds NaN or +inf, or bans every token.
    """
    check_settings(temperature, top_k, top_p)
    logits = to_numpy(logits)
    highest = _highest(logits)  # (M, 1)
    if temperature == 0:
        weight = np.zeros(logits.shape)
        weight[np.arange(len(logits)), logits.argmax(axis=1)] = 1
        return weight
    with np.errstate(over="ignore"):  # as in sample_logits: a quotient of -inf gives weight 0
        weight = np.exp((logits.astype(np.float64) - highest) / temperature)
    return weight if top_k is None and top_p is None else _cut(weight, logits, top_k, top_p)


def distribution(
    logits: Array, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """The probabilities that `sample_logits` draws with: (M, V) float64 on the CPU. See `weights`."""
    return normalized(weights(logits, temperature, top_k, top_p))


def normalized(weight: Array) -> Array:
    """``weight (..., V)`` divided by its sum over the last axis."""
    return weight / weight.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def draw(weight: Array, uniform: float) -> int:
    """A token by inverse transform, as `sample_logits` draws it.

    Args:
        weight: (V,) float64, 0 or more, not all 0.
        uniform: a number in [0, 1).
    """
    share = np.cumsum(weight)
    return int((share <= uniform * share[-1]).sum())


def log_probabilities(logits: Array) -> Array:
    """The logarithm of softmax, computed in float64 on the CPU.

    Each row is computed alone, so its bits do not depend on the other rows.

    Args:
        logits: (M, V) floats on any device; ``-inf`` bans a token.

    Returns:
        (M, V) float64.

    Raises:
        NonFiniteError: if a row holds NaN or +inf, or bans every token.
    """
    logits = to_numpy(logits)
    shifted = logits.astype(np.float64) - _highest(logits)  # (M, V)
    for row in shifted:
        row -= np.log(np.exp(row).sum())
    return shifted


def _highest(logits: Array) -> Array:
    """(M, 1) the highest logit of each row."""
    highest = logits.max(axis=1, keepdims=True)
    broken = np.flatnonzero(~np.isfinite(highest))
    if len(broken):
        raise NonFiniteError(
            f"the highest of the next token's logits is {float(highest[broken[0], 0])}; "
            "the model's weights or its input are damaged, or every token is banned"
        )
    return highest  # type: ignore[no-any-return]
