"""The load-balancing loss of experts (Fedus et al., 2021, arXiv:2101.03961), for any number of experts per token.

With ``f[i]`` the share of all choices that went to expert i, and ``p`` the probabilities of a token, the token adds
``E sum_i f[i] p[i]``. The mean over tokens is 1 if choices and probabilities are spread evenly, and E if one expert
gets everything. With one expert per token this is the paper's loss; with k, the shares still sum to 1.

``f`` is a count and has no gradient. The derivative with respect to ``p`` is ``E f``: it lowers the probability of busy
experts. ``f`` is counted over the batch, so this total is *not* the sum of the totals of micro-batches: it depends on
how a batch is split.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.loss import Loss, chain, summed
from ..contract.op import op
from ..linear.embedding import check_ids


class LoadBalancingCache(NamedTuple):
    """Saved for the backward."""

    slope: Array  # (..., E) derivative of each loss: E f, the same for all tokens


@op("probs: *N E; experts: int *N K")
def load_balancing_forward(probs: Array, experts: Array, *, each: bool = False) -> tuple[Loss, LoadBalancingCache]:
    """Sum of ``E sum_i f[i] p[i]`` over tokens.

    Args:
        probs: (..., E) probabilities of the experts for each token.
        experts: (..., k) integers in [0, E), the chosen ones.
        each: return the loss of each token instead of the sum.

    Returns:
        Loss(total () or (...,), count (), the number of tokens) and the cache.

    Raises:
        TokenError: if an expert is not in [0, E).
    """
    xp, E = array_module(probs), probs.shape[-1]
    check_ids("load_balancing_forward", "experts", experts, E)
    chosen = xp.zeros(E, xp.int64)  # (E,) how often each expert was chosen; a GPU's bincount would wait for the host
    xp.add.at(chosen, experts.reshape(-1).astype(xp.int64), 1)
    slope = (E / max(experts.size, 1) * chosen).astype(probs.dtype)
    losses = (probs * slope).sum(axis=-1)
    return Loss(summed(losses, each), float(losses.size)), LoadBalancingCache(xp.broadcast_to(slope, probs.shape))


@op("cache.slope: *N E")
def load_balancing_backward(dtotal: Any, cache: LoadBalancingCache) -> tuple[Array, None]:
    """Map dtotal () or (...,) to dprobs (..., E), and ``None`` for the experts."""
    return chain("load_balancing_backward", dtotal, cache.slope, rows=True), None
