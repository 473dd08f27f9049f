"""Top-k routing: each token chooses k of E experts (Shazeer et al., 2017, arXiv:1701.06538, without their noise).

The k largest of ``p = softmax(logits)`` are chosen. Their probabilities, or these divided by their sum, are the gates
that weight the experts' outputs::

    s = p[chosen]         g = s            or          g = s / sum(s)
                          ds = dg                      ds = (dg - sum(dg g)) / sum(s)

``dp`` is ``ds`` at the chosen experts, plus the gradient of a loss on the probabilities; the backward of softmax
follows. The choice of experts is constant between ties and has no gradient.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ..activations.softmax import SoftmaxCache, softmax_backward, softmax_forward
from ..contract.op import op


class TopKRoutingCache(NamedTuple):
    """Saved for the backward."""

    probs: Array  # (..., E)
    experts: Array  # (..., k) integers
    gates: Array  # (..., k)
    normalize: bool


def _check_k(logits: Array, *, k: int, normalize: bool = True) -> None:
    if not 1 <= k <= logits.shape[-1]:
        raise ShapeError(f"top_k_routing_forward: k = {k} must be from 1 to E = {logits.shape[-1]}, as logits has")


@op("logits: *N E", check=_check_k)
def top_k_routing_forward(
    logits: Array, *, k: int, normalize: bool = True
) -> tuple[Array, Array, Array, TopKRoutingCache]:
    """Choose experts.

    Args:
        logits: (..., E) a score of each expert for each token.
        k: how many to choose; of equal ones the first.
        normalize: whether the gates sum to 1, as in Mixtral. With k = 1 such a gate is always 1 and gives the router no
            gradient, so the Switch Transformer does not normalise.

    Returns:
        gates (..., k) in decreasing order, probs (..., E), experts (..., k) integers, and the cache.
    """
    probs, _ = softmax_forward.reference(logits)
    experts = array_module(logits).argsort(-probs, axis=-1, kind="stable")[..., :k]
    gates = array_module(logits).take_along_axis(probs, experts, axis=-1)
    if normalize:
        gates = gates / gates.sum(axis=-1, keepdims=True)
    return gates, probs, experts, TopKRoutingCache(probs, experts, gates, normalize)


@op("cache.probs: *N E; cache.experts: int *N K; cache.gates: *N K; dgates: *N K; dprobs: *N E")
def top_k_routing_backward(dgates: Array | None, dprobs: Array | None, cache: TopKRoutingCache) -> Array:
    """Gradient of routing. A cotangent that is ``None`` counts as zero.

    Args:
        dgates: (..., k) gradient of the gates.
        dprobs: (..., E) gradient of the probabilities, from a loss on them.
        cache: from the forward.

    Returns:
        dlogits (..., E).
    """
    probs, experts, gates, normalize = cache
    xp = array_module(probs)
    dp = xp.zeros(probs.shape, probs.dtype)
    if dgates is not None:
        dchosen = dgates
        if normalize:
            total = xp.take_along_axis(probs, experts, axis=-1).sum(axis=-1, keepdims=True)
            dchosen = (dgates - (dgates * gates).sum(axis=-1, keepdims=True)) / total
        xp.put_along_axis(dp, experts, dchosen, axis=-1)  # (..., k) -> (..., E)
    if dprobs is not None:
        dp = dp + dprobs
    return softmax_backward.reference(dp, SoftmaxCache(probs))
