"""The backward of the backward of a contrastive loss, part by part: features, cosines, factor, cross-entropy."""

from __future__ import annotations

from typing import Any

from ...backend.arrays import Array
from ..classification.cross_entropy import cross_entropy_backward
from ..contrastive.info_nce import InfoNCECache
from ..linear.scale import scale_backward
from ..norms.l2_normalize import L2NormalizeCache, l2_normalize_backward
from .linear import scale_backward_backward
from .losses import cross_entropy_backward_backward
from .norms import l2_normalize_backward_backward
from .pairs import second_order


@second_order
def info_nce_backward_backward(
    ddimage: Array, ddtext: Array, ddlog_scale: Array, ddgroups: None, dtotal: Any, cache: InfoNCECache
) -> tuple[Array, Array, Array, Array, None]:
    """The backward of InfoNCE's backward: every part of the loss changes, and each takes the gradient on.

    The direction goes forward through the parts, ``moved``. Then the change of the gradient goes back through them, and
    each part adds by how much it bends the gradient itself. What is left out of a sum has the probability 0, so it
    neither gets a gradient nor changes one.

    Args:
        ddimage: (N, C) gradient of dimage.
        ddtext: (N, C) gradient of dtext.
        ddlog_scale: () gradient of dlog_scale.
        ddgroups: ``None``.
        dtotal: () or (N,) gradient of the total or of each pair's loss.
        cache: from the forward.

    Returns:
        ddtotal () or (N,), dimage (N, C), dtext (N, C), dlog_scale (), and ``None`` for the groups.
    """
    left, right = cache.cosines
    by_image, by_text = (cross_entropy_backward.reference(dtotal, one)[0] for one in (cache.by_image, cache.by_text))
    dlogits = (by_image + by_text.T) / 2  # (N, N)
    dcosines, _ = scale_backward.reference(dlogits, cache.scale)

    moved_left = l2_normalize_backward.reference(ddimage, left)  # (N, C): its matrix is symmetric
    moved_right = l2_normalize_backward.reference(ddtext, right)
    moved = moved_left @ right.out.T + left.out @ moved_right.T  # (N, N), of the cosines
    moved_logits, bent_cosines, bent_scale = scale_backward_backward(moved, ddlog_scale, dlogits, cache.scale)

    of_images, bent_images, _, _ = cross_entropy_backward_backward(moved_logits, None, None, dtotal, cache.by_image)
    of_texts, bent_texts, _, _ = cross_entropy_backward_backward(moved_logits.T, None, None, dtotal, cache.by_text)
    change, dlog_scale = scale_backward.reference((bent_images + bent_texts.T) / 2, cache.scale)
    change = change + bent_cosines  # (N, N), of dcosines

    dimage = _of_features(ddimage, dcosines @ right.out, change @ right.out + dcosines @ moved_right, left)
    dtext = _of_features(ddtext, dcosines.T @ left.out, change.T @ left.out + dcosines.T @ moved_left, right)
    return (of_images + of_texts) / 2, dimage, dtext, dlog_scale + bent_scale, None


def _of_features(direction: Array, gradient: Array, change: Array, cache: L2NormalizeCache) -> Array:
    """The change (N, C) of a gradient by features, from the gradient by their directions and its change."""
    _, bent = l2_normalize_backward_backward(direction, gradient, cache)
    return l2_normalize_backward.reference(change, cache) + bent
