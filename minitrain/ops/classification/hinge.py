"""Hinge loss ``max(0, margin - y f)`` of a score f and a target y, -1 or +1.

Support vector machines minimise it (Cortes, Vapnik, 1995, doi:10.1007/BF00994018). Its derivative is ``-y`` while the
score is on the wrong side of the margin, and 0 beyond it and at the kink.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, array_module, is_cupy
from ...backend.deferred import watch
from ...errors import TokenError
from ..contract.loss import Loss, chain, summed
from ..contract.op import op


class HingeCache(NamedTuple):
    """Saved for the backward."""

    outputs: Array  # (...,) scores
    targets: Array  # (...,) -1 or +1
    margin: float


@op("outputs: *N; targets: int *N")
def hinge_forward(
    outputs: Array, targets: Array, *, margin: float = 1.0, each: bool = False
) -> tuple[Loss, HingeCache]:
    """Sum of the hinge losses.

    Args:
        outputs: (...,) scores; their sign is the decision.
        targets: (...,) integers, -1 or +1.
        margin: how far a score must be on the right side of 0 to have no loss.
        each: return the loss of each element instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of elements) and the cache.

    Raises:
        TokenError: if a target is neither -1 nor +1.
    """
    _check_sides(targets)
    xp = array_module(outputs)
    losses = xp.maximum(margin - targets.astype(outputs.dtype) * outputs, 0)
    return Loss(summed(losses, each), float(losses.size)), HingeCache(outputs, targets, margin)


@op("cache.outputs: *N")
def hinge_backward(dtotal: Any, cache: HingeCache) -> tuple[Array, None]:
    """Map dtotal () or (...,) to doutputs (...,), ``None`` for the targets."""
    outputs, targets, margin = cache
    side = targets.astype(outputs.dtype)
    return chain("hinge_backward", dtotal, -side * (margin - side * outputs > 0)), None


def _check_sides(targets: Array) -> None:
    """Raise ``TokenError`` if a target is neither -1 nor +1; on a GPU, with the next transfer to the host."""
    wrong = (targets != 1) & (targets != -1)
    advice = "must be -1 or +1; 2 * targets - 1 converts classes 0 and 1"
    if not targets.size:
        return
    if is_cupy(targets):
        message = f"hinge_forward: targets has others, but each {advice}"
        xp = array_module(targets)
        watch(xp, "hinge_forward", wrong.max().astype(xp.int64), 0, lambda _: TokenError(message))
    elif (places := np.flatnonzero(wrong)).size:
        where = tuple(int(i) for i in np.unravel_index(int(places[0]), targets.shape))
        raise TokenError(f"hinge_forward: targets{list(where)} = {int(targets[where])} {advice}")
