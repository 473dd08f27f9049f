"""The scores of attention before the softmax, and which keys a query may attend to.

Forward and backward both compute them; no score is kept in between::

    Z = scale * Q K^T                       similarities (T, S)
    C = softcap * tanh(Z / softcap)         capped, if set
    S = C + bias - slope * |t' - s|         and -inf where query t may not attend to key s

A query's position among the keys is counted from the end: query t is at position ``t' = t + S - T``. With T = S that is
t itself. With S > T the queries are the last of a longer sequence, whose earlier keys were computed before.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

from ...backend.arrays import Array, array_module
from ..contract.products import product


def similarities(q: Array, k: Array, scale: float, softcap: float | None) -> Array:
    """``scale * Q K^T``, capped: (B, H, T, S).

    Soft-capping (Gemma Team, 2024, arXiv:2408.00118) keeps scores within (-softcap, softcap) and hardly changes small
    ones.
    """
    xp = array_module(q)
    z = scale * product(heads_first(q), heads_first(for_queries(k, q)).swapaxes(-1, -2))  # (B, H, T, S)
    return z if softcap is None else softcap * xp.tanh(z / softcap)


def capped_slope(capped: Array, softcap: float) -> Array:
    """The derivative of ``softcap * tanh(z / softcap)``, ``1 - tanh^2``, computed from the capped value."""
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
    """The scores (B, H, T, S): similarities plus bias and ALiBi, and -inf where a query may not attend."""
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
    """(T, S): the distance ``t' - s`` from key s to query t; negative for later keys."""
    return xp.arange(T)[:, None] + (S - T) - xp.arange(S)  # type: ignore[no-any-return]


def allowed(
    xp: Any, T: int, S: int, causal: bool, window: int | None, key_lengths: Array | None, mask: Array | None
) -> Array | None:
    """Where queries may attend: boolean, broadcasts to (B, H, T, S); ``None`` means everywhere."""
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
    """(B, S, Hkv, D) -> (B, S, H, D): repeat each key head for every query head of its group."""
    group = q.shape[2] // kv.shape[2]
    return kv if group == 1 else array_module(kv).repeat(kv, group, axis=2)
