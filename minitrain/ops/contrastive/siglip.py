"""The sigmoid loss of SigLIP (Zhai et al., 2023, arXiv:2303.15343): do this image and this text belong together?

Every pair in a batch is a binary classification of its own. With cosines s, a learned factor and a learned bias b::

    z[i, j] = y[i, j] (exp(log_scale) s[i, j] + b)      y = 1 for i = j, -1 for all others
    loss[i] = sum_j softplus(-z[i, j])

The paper divides the sum over all pairs by N, which is the count here. There are N - 1 times as many negatives as
positives, so the paper starts b at -10 and ``log_scale`` at ln 10.

Pairs of one group, such as those with equal texts, are no negatives of each other: with ``groups``, nothing is asked
about their wrong partners. The loss couples the samples of a batch, like ``info_nce``; see there.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ..activations.logistic import sigmoid, softplus
from ..contract.loss import Loss, chain, summed
from ..contract.op import op
from ..contract.sums import sum_over
from ..linear.scale import ScaleCache, scale_backward, scale_forward
from .cosine import CosineCache, cosines, cosines_backward
from .info_nce import LEFT_OUT, of_one_group


class SiglipCache(NamedTuple):
    """Saved for the backward."""

    scores: Array  # (N, N) z: positive where the classification is right, and far above 0 where nothing is asked
    cosines: CosineCache
    scale: ScaleCache


@op("image: N C; text: N C; log_scale:; bias:; groups: int N")
def siglip_forward(
    image: Array, text: Array, log_scale: Array, bias: Array, groups: Array | None = None, *, each: bool = False
) -> tuple[Loss, SiglipCache]:
    """Sum of the losses of all images, each paired with all texts.

    Args:
        image: (N, C) features of any length; only their directions matter.
        text: (N, C) features; row i belongs to row i of ``image``.
        log_scale: () logarithm of the cosines' factor.
        bias: () log-odds added to all pairs.
        groups: (N,) integers; nothing is asked about wrong partners of the same number. ``None`` if each stands alone.
        each: return the loss of each image instead of the sum.

    Returns:
        Loss(total () or (N,), count (), the number of images) and the cache.
    """
    similarities, cosine_cache = cosines(image, text)  # (N, N)
    scaled, scale_cache = scale_forward(similarities, log_scale, limit=math.inf)
    scores = _sides(scaled) * (scaled + bias)
    if groups is not None:  # -LEFT_OUT is so sure that it has neither a loss nor a gradient
        scores = array_module(scores).where(of_one_group(groups), -LEFT_OUT, scores).astype(scores.dtype)
    losses = softplus(-scores).sum(axis=-1)  # (N,)
    return Loss(summed(losses, each), float(len(image))), SiglipCache(scores, cosine_cache, scale_cache)


@op("cache.scores: N N")
def siglip_backward(dtotal: Any, cache: SiglipCache) -> tuple[Array, Array, Array, Array, None]:
    """Map dtotal () or (N,) to dimage (N, C), dtext (N, C), dlog_scale (), dbias (), and ``None`` for the groups."""
    scores = cache.scores
    dlogits = chain("siglip_backward", dtotal, -_sides(scores) * sigmoid(-scores), rows=True)  # (N, N)
    dcosines, dlog_scale = scale_backward(dlogits, cache.scale)
    dimage, dtext = cosines_backward(dcosines, cache.cosines)
    return dimage, dtext, dlog_scale, sum_over(dlogits), None


def _sides(scores: Array) -> Array:
    """1 on the diagonal and -1 off it, in the shape and dtype of the scores (N, N)."""
    return 2 * array_module(scores).eye(len(scores), dtype=scores.dtype) - 1  # type: ignore[no-any-return]
