"""Supervised contrastive loss (Khosla et al., 2020, arXiv:2004.11362): it pulls samples of a class together.

With cosines s between all samples, ``z = s / temperature``, and P(i) the other samples of the class of i, this is the
paper's L_out (its equation 2)::

    loss[i] = -1/|P(i)| sum_{p in P(i)} log( exp z[i, p] / sum_{a != i} exp z[i, a] )

and its gradient is ``dz[i, j] = softmax(z[i, others])[j] - [j in P(i)] / |P(i)|``, with 0 for j = i. A sample that is
alone in its class has no positives: it adds nothing and does not count, but it is a negative for all others.

The loss couples the samples of a batch, like ``info_nce``; see there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..contract.log_sum_exp import exp_sum
from ..contract.loss import Loss, chain, summed
from ..contract.op import op
from .cosine import CosineCache, cosines, cosines_backward


class SupervisedContrastiveCache(NamedTuple):
    """Saved for the backward."""

    scores: Array  # (N, N) z, with -inf on the diagonal; 0 in rows that do not count
    highest: Array  # (N,) largest score of each row
    total: Array  # (N,) sum of exp(scores - highest)
    share: Array  # (N, N) 1 / |P(i)| for the positives of a row, 0 for all others
    counted: Array  # (N,) whether the row has positives
    cosines: CosineCache
    temperature: float


def _check_temperature(features: Array, labels: Array, *, temperature: float = 0.07, each: bool = False) -> None:
    if not temperature > 0:
        raise ShapeError(f"supervised_contrastive_forward: temperature = {temperature} must be positive")


@op("features: N C; labels: int N", check=_check_temperature)
def supervised_contrastive_forward(
    features: Array, labels: Array, *, temperature: float = 0.07, each: bool = False
) -> tuple[Loss, SupervisedContrastiveCache]:
    """Sum of the losses of all samples that are not alone in their class.

    Args:
        features: (N, C) features of any length; only their directions matter. Two views of a sample are two rows.
        labels: (N,) integers, the class of each sample.
        temperature: divisor of the cosines, above 0.
        each: return the loss of each sample instead of the sum.

    Returns:
        Loss(total () or (N,), count (), the number of samples that count) and the cache.
    """
    xp = array_module(features)
    itself = xp.eye(len(features), dtype=bool)  # (N, N)
    positives = (labels[:, None] == labels[None, :]) & ~itself  # (N, N)
    sizes = positives.sum(axis=-1)  # (N,)
    counted = sizes > 0
    share = (positives / xp.maximum(sizes, 1)[:, None]).astype(features.dtype)
    similarities, cosine_cache = cosines(features, features)  # (N, N)
    scores = xp.where(itself, -xp.inf, similarities / temperature)
    scores = xp.where(counted[:, None], scores, 0).astype(features.dtype)  # a sample may be the only one in the batch
    highest, total = exp_sum(scores)
    gap = xp.where(positives, highest[:, None] - scores, 0)  # (N, N) distance from the highest score
    losses = xp.where(counted, xp.log(total) + (share * gap).sum(axis=-1), 0).astype(features.dtype)
    cache = SupervisedContrastiveCache(scores, highest, total, share, counted, cosine_cache, temperature)
    return Loss(summed(losses, each), counted.sum(dtype=xp.float64)), cache


@op("cache.scores: N N")
def supervised_contrastive_backward(dtotal: Any, cache: SupervisedContrastiveCache) -> tuple[Array, None]:
    """Map dtotal () or (N,) to dfeatures (N, C), ``None`` for the labels."""
    scores, highest, total, share, counted, cosine_cache, temperature = cache
    xp = array_module(scores)
    p = xp.exp(scores - highest[:, None]) / total[:, None]  # (N, N)
    slope = xp.where(counted[:, None], p - share, 0) / temperature
    dcosines = chain("supervised_contrastive_backward", dtotal, slope.astype(scores.dtype), rows=True)
    as_anchor, as_other = cosines_backward(dcosines, cosine_cache)
    return as_anchor + as_other, None
