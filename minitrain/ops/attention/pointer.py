"""The pointer-generator: a next token is chosen from the vocabulary, or copied from a source (See et al., 2017).

Each position has logits z over the vocabulary, a query q, and a gate u; each token x_s of the source has a key k_s
(arXiv:1704.04368, section 2.2)::

    a   = softmax(scale * q k_s)             where to look in the source; 0 for padding
    c_v = sum of a_s over all s with x_s = v how much of that is token v
    p_v = g softmax(z)_v + (1 - g) c_v       with g = sigmoid(u)

The result is ``log p``, computed as the sum of two numbers in log space, ``log(exp(A_v) + exp(B_v))`` with::

    A_v = log g + z_v - logsumexp(z)         finite wherever z is
    B_v = log(1 - g) + log c_v               -inf for tokens that the source does not have

A cross-entropy takes ``log p`` like logits: its rows have the log-sum-exp 0. In the backward, with G the gradient of
``log p`` and ``w_v = exp(B_v - log p_v)``, the share of p_v that was copied::

    dA_v = G_v (1 - w_v)                     dB_v = G_v w_v
    dz   = dA - softmax(z) sum(dA)           da_s (as log a_s) = dB_v a_s / c_v  for v = x_s
    dscore_s = that - a_s sum(dB)            du = (1 - g) sum(dA) - g sum(dB)

A source without a token to copy leaves everything to the vocabulary, whatever the gate says.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module, check_array
from ...backend.precision import operand, operand_like, wide
from ...errors import ShapeError
from ..contract.log_sum_exp import exp_sum, row_maximum
from ..contract.op import op
from ..contract.products import product
from ..linear.embedding import check_ids


class PointerCache(NamedTuple):
    """Saved for the backward."""

    logits: Array  # (B, T, V)
    q: Array  # (B, T, C), as it was multiplied; so is k
    k: Array  # (B, S, C)
    gate: Array  # (B, T)
    source: Array  # (B, S) integers
    a: Array  # (B, T, S) how much of each source token is copied; 0 for padding
    part: Array  # (B, T, S) a_s / c_v: how much of the copies of its token is from this place
    copied: Array  # (B, T, S) w_v: how much of the probability of its token is copied
    may_copy: Array  # (B, 1) whether the source has a token
    scale: float


def _check(logits: Array, q: Array, k: Array, gate: Array, source: Array, **options: Any) -> None:
    lengths = options.get("key_lengths")
    if lengths is None:
        return
    check_array("pointer_forward: key_lengths", lengths)
    if lengths.shape != (len(q),) or lengths.dtype.kind not in "iu":
        raise ShapeError(
            f"pointer_forward: key_lengths must hold B = {len(q)} integers, got {lengths.dtype} {lengths.shape}"
        )


@op("logits: B T V; q: half B T C; k: half B S C; gate: B T; source: int B S", check=_check)
def pointer_forward(
    logits: Array,
    q: Array,
    k: Array,
    gate: Array,
    source: Array,
    *,
    key_lengths: Array | None = None,
) -> tuple[Array, PointerCache]:
    """The logarithms of the probabilities of the next tokens, chosen or copied.

    Args:
        logits: (B, T, V) scores of the vocabulary.
        q: (B, T, C) queries.
        k: (B, S, C) keys of the source's tokens.
        gate: (B, T) the logit of choosing from the vocabulary.
        source: (B, S) integers in [0, V), the source's tokens.
        key_lengths: (B,) integers; the source from this length on is padding and never copied.

    Returns:
        log_p (B, T, V), whose exponentials sum to 1 in each row, and the cache.

    Raises:
        TokenError: if a source token is outside the vocabulary.
    """
    xp = array_module(logits)
    B, S = source.shape
    check_ids("pointer_forward", "source", source, logits.shape[-1])
    scale = 1 / math.sqrt(max(q.shape[-1], 1))
    q, k = operand(q), operand(k)
    # No BLAS: it sums in an order that depends on how many rows there are, and a sequence has one result.
    scores = scale * xp.einsum("btc,bsc->bts", wide(q), wide(k))
    real = xp.ones((B, S), bool) if key_lengths is None else xp.arange(S) < key_lengths[:, None]  # (B, S)
    may_copy = real.any(axis=1)[:, None]  # (B, 1)
    scores = xp.where(real[:, None], scores, -xp.inf)
    e = xp.exp(scores - xp.where(may_copy[..., None], row_maximum(scores), 0))  # (B, T, S)
    a = (e / xp.where(may_copy[..., None], e.sum(axis=-1, keepdims=True), 1)).astype(logits.dtype)
    c = _summed_by_token(a, source)  # (B, T, S): c_v for the token v of each place
    highest, total = exp_sum(logits)
    log_g, log_rest = -_softplus(xp, -gate), -_softplus(xp, gate)
    log_g = xp.where(may_copy, log_g, 0).astype(logits.dtype)  # (B, T)
    log_p = logits - (highest + xp.log(total) - log_g)[..., None]  # A (B, T, V)
    places = xp.broadcast_to(source[:, None], a.shape)
    chosen = xp.take_along_axis(log_p, places, axis=-1)  # (B, T, S)
    none = c == 0  # not "no more than 0": NaN stays NaN
    log_c = xp.where(none, -xp.inf, xp.log(xp.where(none, 1, c)))
    both = _log_sum(xp, chosen, log_rest[..., None] + log_c).astype(logits.dtype)
    xp.put_along_axis(log_p, places, both, axis=-1)
    copied = xp.where(none, 0, xp.exp(log_rest[..., None] + log_c - both)).astype(logits.dtype)
    part = (a / xp.where(none, 1, c)).astype(logits.dtype)
    return log_p, PointerCache(logits, q, k, gate, source, a, part, copied, may_copy, scale)


@op("cache.logits: B T V; cache.q: half B T C; cache.k: half B S C; cache.gate: B T; dlog_p: B T V")
def pointer_backward(dlog_p: Array, cache: PointerCache) -> tuple[Array, Array, Array, Array, None]:
    """Gradients of the pointer.

    Maps dlog_p (B, T, V) to dlogits (B, T, V), dq (B, T, C), dk (B, S, C), dgate (B, T) and ``None`` for the source.
    """
    logits, q, k, gate, source, a, part, copied, may_copy, scale = cache
    xp = array_module(logits)
    places = xp.broadcast_to(source[:, None], a.shape)
    at_places = xp.take_along_axis(dlog_p, places, axis=-1)  # (B, T, S)
    chosen = dlog_p.copy()  # dA (B, T, V)
    xp.put_along_axis(chosen, places, at_places * (1 - copied), axis=-1)
    by_place = at_places * copied * part  # dB_v, split among the places of its token
    all_chosen, all_copied = chosen.sum(axis=-1), by_place.sum(axis=-1)  # (B, T)
    highest, total = exp_sum(logits)
    dlogits = chosen - xp.exp(logits - highest[..., None]) * (all_chosen / total)[..., None]
    g = xp.exp(-_softplus(xp, -gate))
    dgate = xp.where(may_copy, (1 - g) * all_chosen - g * all_copied, 0).astype(gate.dtype)
    dscores = operand_like(by_place - a * all_copied[..., None], q)  # (B, T, S)
    dq = scale * product(dscores, k)
    dk = scale * product(dscores.swapaxes(-1, -2), q)  # (B, S, C)
    return dlogits, dq, dk, dgate, None


def _softplus(xp: Any, x: Array) -> Array:
    """``log(1 + exp(x))``."""
    return _log_sum(xp, x, xp.zeros_like(x))


def _log_sum(xp: Any, x: Array, y: Array) -> Array:
    """``log(exp(x) + exp(y))`` for x that is not ``-inf``; unlike NumPy's own it hands NaN on without a warning."""
    high, low = xp.maximum(x, y), xp.minimum(x, y)
    total: Array = high + xp.log1p(xp.exp(low - high))
    return total


def _summed_by_token(a: Array, source: Array) -> Array:
    """For each place the sum of a (B, T, S) over all places with the same token; one place after the other."""
    out: Array = array_module(a).zeros_like(a)
    for s in range(source.shape[1]):
        out += a[:, :, s : s + 1] * (source == source[:, s : s + 1])[:, None]  # (B, T, 1) * (B, 1, S)
    return out
