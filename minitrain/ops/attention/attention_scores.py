"""The scores of attention: what a query says about a key before the softmax, and which keys it may see at all.

Forward and backward both need them, one after the other; no score is kept in between::

    Z = scale * Q K^T                       similarities (T, S)
    C = softcap * tanh(Z / softcap)         capped, if asked for
    S = C + bias - slope * |t' - s|         and -inf where query t may not attend to key s

A query's place among the keys is counted from the end: query t stands at ``t' = t + S - T``. With T = S that is t
itself; with S > T the queries are the last of a longer sequence, whose earlier keys are known already.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from ...backend.arrays import Array, array_module
from ..contract.products import product


def similarities(q: Array, k: Array, scale: float, softcap: float | None) -> Array:
    """``scale * Q K^T``, capped: (B, H, T, S).

    Soft-capping (Gemma Team, 2024, arXiv:2408.00118) keeps scores within (-softcap, softcap), small ones almost as they
    are.
    """
    xp = array_module(q)
    z = scale * product(heads_first(q), heads_first(for_queries(k, q)).swapaxes(-1, -2))  # (B, H, T, S)
    return z if softcap is None else softcap * xp.tanh(z / softcap)


def capped_slope(capped: Array, softcap: float) -> Array:
    """The derivative of ``softcap * tanh(z / softcap)``, which is ``1 - tanh^2``, from its value."""
    return 1 - (capped / softcap) ** 2


def biased(
    similar: Array,
    bias: Array | None,
    alibi_slopes: Array | None,
    causal: bool,
    window: int | None,
    key_lengths: Array | None,
    mask: Array | None,
) -> Array:
    """The scores (B, H, T, S): similarities with all that is added to them, and -inf where a query may not attend."""
    xp, scores = array_module(similar), similar
    T, S = similar.shape[2:]
    if bias is not None:
        scores = scores + bias
    if alibi_slopes is not None:
        slopes = alibi_slopes.astype(scores.dtype)[:, None, None]  # (H, 1, 1)
        scores = scores - slopes * abs(_lead(xp, T, S)).astype(scores.dtype)  # (H, T, S)
    may = allowed(xp, T, S, causal, window, key_lengths, mask)
    return scores if may is None else xp.where(may, scores, -xp.inf).astype(scores.dtype)


def _lead(xp: Any, T: int, S: int) -> Array:
    """(T, S): how far query t stands after key s, ``t' - s``; negative for a key to come."""
    return xp.arange(T)[:, None] + (S - T) - xp.arange(S)  # type: ignore[no-any-return]


def allowed(
    xp: Any, T: int, S: int, causal: bool, window: int | None, key_lengths: Array | None, mask: Array | None
) -> Array | None:
    """Where queries may attend: boolean, broadcasts to (B, H, T, S), or ``None`` if everywhere."""
    rules = []
    if mask is not None:
        rules.append(mask)
    if causal:
        rules.append(_lead(xp, T, S) >= 0)
    if window is not None:
        rules.append(abs(_lead(xp, T, S)) < window)
    if key_lengths is not None:
        rules.append((xp.arange(S) < key_lengths[:, None])[:, None, None, :])  # (B, S) -> (B, 1, 1, S)
    return functools.reduce(operator.and_, rules) if rules else None


def heads_first(x: Array) -> Array:
    """(B, T, H, D) <-> (B, H, T, D), as a view."""
    return x.swapaxes(1, 2)


def for_queries(kv: Array, q: Array) -> Array:
    """(B, S, Hkv, D) -> (B, S, H, D): each key head once for every query head of its group."""
    group = q.shape[2] // kv.shape[2]
    return kv if group == 1 else array_module(kv).repeat(kv, group, axis=2)
