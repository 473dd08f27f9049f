"""Kullback-Leibler divergence ``sum_c t[c] (log t[c] - q[c])`` of log-probabilities q from target probabilities t.

It is 0 if ``q = log t`` and positive otherwise; terms with t = 0 are 0. The derivative with respect to q is ``-t``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.loss import Loss, chain, summed
from ..contract.op import op


class KLDivergenceCache(NamedTuple):
    """Saved for the backward."""

    targets: Array  # (..., V)


@op("log_probs: *N V; targets: *N V")
def kl_divergence_forward(log_probs: Array, targets: Array, *, each: bool = False) -> tuple[Loss, KLDivergenceCache]:
    """Sum of the divergences of all rows. Divided by the count it is PyTorch's ``"batchmean"``.

    Args:
        log_probs: (..., V) log-probabilities of the model, such as a log-softmax.
        targets: (..., V) probabilities; rows sum to 1. They have no gradient.
        each: return the divergence of each row instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of rows) and the cache.
    """
    xp = array_module(log_probs)
    absent = targets == 0
    gap = xp.log(xp.where(absent, 1, targets)) - xp.where(absent, 0, log_probs)  # log_probs may be -inf there
    losses = (targets * gap).sum(axis=-1).astype(log_probs.dtype)  # (...,)
    return Loss(summed(losses, each), float(losses.size)), KLDivergenceCache(targets)


@op("cache.targets: *N V")
def kl_divergence_backward(dtotal: Any, cache: KLDivergenceCache) -> tuple[Array, None]:
    """Map dtotal () or (...,) to dlog_probs (..., V), ``None`` for the targets."""
    return chain("kl_divergence_backward", dtotal, -cache.targets, rows=True), None
