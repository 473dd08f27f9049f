"""Log-probability, rank and confidence of the classes or tokens that came, from logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module, to_numpy
from ..generation.choosing import check_highest
from .fields import counted


class Predictions(NamedTuple):
    """How well tokens were predicted.

    Attributes:
        log_probability: (M,) float64, in nats.
        rank: (M,) integers: how many tokens were thought more likely. Of equal logits, the lower id comes first.
        confidence: (M,) float64: the probability of the most likely token.
    """

    log_probability: Array
    rank: Array
    confidence: Array

    @property
    def hit(self) -> Array:
        """(M,) booleans: whether the token was the most likely one."""
        found: Array = self.rank == 0
        return found


def predictions(logits: Array, targets: Array) -> Predictions:
    """Compare logits with the tokens that came.

    Args:
        logits: (M, V) floats on any device; ``-inf`` bans a token.
        targets: (M,) ids below V, on the CPU.

    Returns:
        Arrays on the CPU. Exponentials have the logits' type, sums of them are float64.

    Raises:
        NonFiniteError: if a row holds NaN or +inf, or bans every token.
    """
    xp = array_module(logits)
    rows, ids = xp.arange(len(targets)), xp.asarray(targets)
    highest = logits.max(axis=1)  # (M,)
    for wrong in to_numpy(highest[~xp.isfinite(highest)]):
        check_highest(wrong)
    chosen = logits[rows, ids]  # (M,)
    total = xp.exp(logits - highest[:, None]).sum(axis=1, dtype=np.float64)  # (M,)
    log_probability = chosen.astype(np.float64) - highest - xp.log(total)
    before = (logits == chosen[:, None]) & (xp.arange(logits.shape[1]) < ids[:, None])
    rank = ((logits > chosen[:, None]) | before).sum(axis=1)
    return Predictions(to_numpy(log_probability), to_numpy(rank), to_numpy(1 / total))


def counted_predictions(logits: Array, targets: Array, ignore_index: int) -> tuple[Predictions, Array, int]:
    """Compare the logits (B, ..., V) of a batch with its targets (B, ...) that count.

    Returns:
        The M predictions, the index (M,) of the sample of each, and the number of samples B.

    Raises:
        DataError: if a target is no class.
        NonFiniteError: see `predictions`.
    """
    V, samples = logits.shape[-1], len(targets)
    counts = counted(targets, ignore_index, V).reshape(-1)
    places = np.flatnonzero(to_numpy(counts))  # (M,)
    kept = logits.reshape(-1, V)[counts]  # (M, V)
    each = counts.size // max(1, samples)  # targets of a sample; 0 only where there are no places
    return predictions(kept, to_numpy(targets.reshape(-1)[counts])), places // each, samples
