"""The router's z-loss (Zoph et al., 2022, arXiv:2202.08906): ``logsumexp(logits)^2`` keeps logits small.

Large logits lose precision in 16 bits, and softmax does not limit them: it ignores a common offset. With z the
log-sum-exp, the derivative is ``2 z softmax(logits)``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array
from ...errors import ShapeError
from ..activations.softmax import softmax_forward
from ..contract.log_sum_exp import log_sum_exp
from ..contract.loss import Loss, chain, summed
from ..contract.op import op


class RouterZLossCache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (..., E)
    z: Array  # (..., 1) their log-sum-exp


def _check_experts(logits: Array, *, each: bool = False) -> None:
    if logits.shape[-1] == 0:
        raise ShapeError(f"router_z_loss_forward: logits has shape {logits.shape}: no expert, so no log-sum-exp")


@op("logits: *N E", check=_check_experts)
def router_z_loss_forward(logits: Array, *, each: bool = False) -> tuple[Loss, RouterZLossCache]:
    """Sum of the squared log-sum-exps of the rows.

    Args:
        logits: (..., E) a score of each expert for each token.
        each: return the loss of each token instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of tokens) and the cache.
    """
    z = log_sum_exp(logits)[..., None]  # (..., 1)
    return Loss(summed((z * z)[..., 0], each), float(z.size)), RouterZLossCache(logits, z)


@op("cache.logits: *N E; cache.z: *N 1")
def router_z_loss_backward(dtotal: Any, cache: RouterZLossCache) -> Array:
    """Map dtotal () or (...,) to dlogits (..., E)."""
    logits, z = cache
    slope = 2 * z * softmax_forward.reference(logits)[0]
    return chain("router_z_loss_backward", dtotal, slope, rows=True)
