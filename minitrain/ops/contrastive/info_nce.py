"""Symmetric InfoNCE, the loss of CLIP: find an image's text among all texts of the batch, and a text's image.

The loss is from van den Oord et al. (2018, arXiv:1807.03748), its symmetric form from Radford et al. (2021,
arXiv:2103.00020). With cosines s between all images and texts, a learned factor, and
``z[i, j] = exp(log_scale) s[i, j]``::

    loss[i] = (cross_entropy(z[i, :], i) + cross_entropy(z[:, i], i)) / 2

It is a composition: features are normalised (``l2_normalize``), the factor has a limit, as in CLIP (``scale``), and
each row and column of z is a classification into N classes (``cross_entropy``).

A text may fit several images of a batch. Pairs of one *group* are no negatives of each other: with ``groups``, the
scores of their wrong partners are left out of both sums. Otherwise the loss would ask for what nobody can know, which
of two equal texts is meant, and it would never come down to 0.

The loss couples the samples of a batch: each is a negative for all others. So it is an exception to the rule that any
split of a batch gives the same gradient; ``minitrain.losses.gradient_caching`` splits the encoders' work instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..classification.cross_entropy import CrossEntropyCache, cross_entropy_backward, cross_entropy_forward
from ..contract.loss import Loss, is_per_loss
from ..contract.op import op
from ..linear.scale import ScaleCache, scale_backward, scale_forward
from .cosine import CosineCache, cosines, cosines_backward

LEFT_OUT = -1e9
"""The score of what is no negative: its exponential is 0 next to any other, and no difference of scores is NaN."""


class InfoNCECache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (N, N) z; a row for each image, a column for each text; what is left out is far below
    cosines: CosineCache
    scale: ScaleCache
    by_image: CrossEntropyCache
    by_text: CrossEntropyCache


def of_one_group(groups: Array) -> Array:
    """Which pairs of different samples have the same of the numbers (N,): booleans (N, N)."""
    same: Array = (groups[:, None] == groups[None, :]) & ~array_module(groups).eye(len(groups), dtype=bool)
    return same


def _check_limit(
    image: Array,
    text: Array,
    log_scale: Array,
    groups: Array | None = None,
    *,
    limit: float = 100.0,
    each: bool = False,
) -> None:
    if not limit > 0:
        raise ShapeError(f"info_nce_forward: limit = {limit} must be positive; math.inf means no limit")


@op("image: N C; text: N C; log_scale:; groups: int N", check=_check_limit)
def info_nce_forward(
    image: Array,
    text: Array,
    log_scale: Array,
    groups: Array | None = None,
    *,
    limit: float = 100.0,
    each: bool = False,
) -> tuple[Loss, InfoNCECache]:
    """Sum of the losses of all pairs.

    Args:
        image: (N, C) features of any length; only their directions matter.
        text: (N, C) features; row i belongs to row i of ``image``.
        log_scale: () logarithm of the cosines' factor, which is one over the temperature.
        groups: (N,) integers; pairs of one number are no negatives of each other. ``None`` if each stands alone.
        limit: the largest factor; beyond it ``log_scale`` has no gradient.
        each: return the loss of each pair instead of the sum.

    Returns:
        Loss(total () or (N,), count (), the number of pairs) and the cache.
    """
    similarities, cosine_cache = cosines(image, text)  # (N, N)
    logits, scale_cache = scale_forward(similarities, log_scale, limit=limit)
    xp = array_module(image)
    if groups is not None:
        logits = xp.where(of_one_group(groups), LEFT_OUT, logits).astype(logits.dtype)
    partners = xp.arange(len(image))  # (N,)
    by_image, image_cache = cross_entropy_forward(logits, partners, each=each)
    by_text, text_cache = cross_entropy_forward(logits.T, partners, each=each)
    cache = InfoNCECache(logits, cosine_cache, scale_cache, image_cache, text_cache)
    return Loss((by_image.total + by_text.total) / 2, float(len(image))), cache


@op("cache.logits: N N")
def info_nce_backward(dtotal: Any, cache: InfoNCECache) -> tuple[Array, Array, Array, None]:
    """Map dtotal () or (N,) to dimage (N, C), dtext (N, C), dlog_scale (), and ``None`` for the groups."""
    is_per_loss("info_nce_backward", dtotal, cache.logits.shape[:1])
    by_image, by_text = (cross_entropy_backward(dtotal, choice)[0] for choice in (cache.by_image, cache.by_text))
    dcosines, dlog_scale = scale_backward((by_image + by_text.T) / 2, cache.scale)
    return *cosines_backward(dcosines, cache.cosines), dlog_scale, None
