"""Cuts the unlikely end of a distribution: top-k, top-p (nucleus), min-p and typical sampling.

Each function takes scores (m,), unnormalised log-probabilities after the temperature, and returns the positions that
it keeps, in ascending order. Cuts follow each other: each gets the scores that the one before has kept, so that it sees
the distribution over these. Of equal scores, the lower position counts as more likely.
"""

from __future__ import annotations

import numpy as np

from ...backend.arrays import Array

FEW = 256
"""From this many scores on, the largest ones are found without sorting all of them."""


def largest(values: Array, n: int) -> Array:
    """The positions of the ``n`` largest of ``values`` (m,), the largest first; all of them if there are fewer."""
    if n >= values.size or values.size <= FEW:
        return (-values).argsort(kind="stable")[:n]
    least = np.partition(values, -n)[-n]
    candidates = np.flatnonzero(values >= least)  # n, and those that equal the last one
    return candidates[(-values[candidates]).argsort(kind="stable")[:n]]


def keep_top_k(scores: Array, k: int) -> Array:
    """Keep the ``k`` most likely tokens.

    Source: Fan, Lewis and Dauphin, 2018, "Hierarchical Neural Story Generation", section 5.4. Of equal scores at the
    limit, only the first are kept: there are never more than ``k``.
    """
    return np.sort(largest(scores, k))


def keep_top_p(scores: Array, p: float) -> Array:
    """Keep the smallest set of most likely tokens whose share of the probability reaches ``p``.

    Source: Holtzman et al., 2020, "The Curious Case of Neural Text Degeneration", section 3.1.
    """
    weight = np.exp(scores - scores.max())  # (m,)
    return np.sort(first_to_reach(p * weight.sum(), weight, scores))


def first_to_reach(enough: float, weight: Array, priority: Array) -> Array:
    """The positions of the highest ``priority`` (m,) whose ``weight`` (m,) sums up to ``enough``, the highest first."""
    n = FEW
    while True:  # mostly the first few are enough, and a large vocabulary need not be sorted
        order = largest(priority, n)
        share = weight[order].cumsum()
        if share[-1] >= enough or n >= weight.size:
            # A position is kept while those before it have not reached the sum: the first one always.
            return order[: 1 + int(share[:-1].searchsorted(enough))]
        n *= 8


def keep_min_p(scores: Array, p: float) -> Array:
    """Keep the tokens that are at least ``p`` times as likely as the most likely one.

    Source: Nguyen et al., 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs".
    """
    return np.flatnonzero(np.exp(scores - scores.max()) >= p)


def keep_typical(scores: Array, p: float) -> Array:
    """Keep the most typical tokens that together reach the share ``p`` of the probability.

    A token is typical if its information, -log of its probability, is near the mean information of the distribution,
    the entropy. Tokens as typical as the last one that is needed are kept too.

    Source: Meister et al., 2022, "Locally Typical Sampling", section 4.
    """
    possible = np.flatnonzero(scores > -np.inf)
    score = scores[possible] - scores.max()
    logprob = score - np.log(np.exp(score).sum())
    probability = np.exp(logprob)
    entropy = -(probability * logprob).sum()
    distance = abs(-logprob - entropy)
    last = first_to_reach(p, probability, -distance)[-1]
    return possible[distance <= distance[last]]  # type: ignore[no-any-return]
