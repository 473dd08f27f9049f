"""Scaled dot-product attention (Vaswani et al., 2017, arXiv:1706.03762), in every form a transformer uses.

For each sample and head::

    C = cap(scale * Q K^T)            similarities (T, S); cap(z) = softcap * tanh(z / softcap), if set
    S = C + bias + ALiBi              scores (T, S); -inf where a query may not attend
    L = logsumexp(S)                  one number per query (T,)
    P = exp(S - L)                    probabilities
    O = dropout(P) V

The backward recomputes P, so no (T, S) matrix is kept. The kernel recomputes it from Q, K and the stored L, like
FlashAttention (Dao et al., 2022, arXiv:2205.14135). The code here recomputes the softmax itself, because the rounding
of L shows where scores are large. With ``M`` the dropout factors::

    dV = (M P)^T dO          dP = M (dO V^T)
    dS = P (dP - sum(dO * O))               the softmax Jacobian; sum(dO * O) equals sum(dP * P)
    dbias = dS               dZ = dS cap'          with ``cap' = 1 - (C / softcap)^2``, or 1 without a cap
    dQ = scale * dZ K        dK = scale * dZ^T Q

Grouped queries (Ainslie et al., 2023, arXiv:2305.13245): ``H`` query heads share ``Hkv`` key heads, H % Hkv == 0;
query head ``h`` reads key head ``h // (H // Hkv)``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ...backend.arrays import Array, array_module, check_array
from ...backend.precision import operand, operand_like, wide
from ...errors import ShapeError
from ...random import Key
from ..contract.log_sum_exp import row_maximum
from ..contract.op import op
from ..contract.products import product
from ..contract.sums import sum_over
from ..linear.dropout import dropout_mask
from .attention_scores import biased, capped_slope, for_queries, heads_first, similarities


class AttentionCache(NamedTuple):
    """Saved for the backward."""

    q: Array  # (B, T, H, D), as it was multiplied; so are k and v
    k: Array  # (B, S, Hkv, D)
    v: Array  # (B, S, Hkv, D)
    bias: Array | None  # broadcasts to (B, H, T, S)
    out: Array  # (B, T, H, D); of 16 bits where q has them
    lse: Array  # (B, H, T) log-sum-exp of the scores; -inf for a query that may attend to nothing
    key_lengths: Array | None  # (B,)
    mask: Array | None  # broadcasts to (B, H, T, S), True = may attend
    alibi_slopes: Array | None  # (H,)
    causal: bool
    window: int | None
    softcap: float | None
    scale: float
    dropout: float
    key: Key | None


def _check_attention(q: Array, k: Array, v: Array, bias: Array | None = None, **options: Any) -> None:
    (B, T, H, _), (S, Hkv) = q.shape, k.shape[1:3]
    key_lengths, mask, alibi_slopes = (options.get(name) for name in ("key_lengths", "mask", "alibi_slopes"))
    window, softcap, dropout = options.get("window"), options.get("softcap"), options.get("dropout", 0.0)

    def refuse(problem: str) -> None:
        raise ShapeError(f"attention_forward: {problem}")

    for name, x in (("key_lengths", key_lengths), ("mask", mask), ("alibi_slopes", alibi_slopes)):
        if x is not None:
            check_array(f"attention_forward: {name}", x)
    if H % Hkv if Hkv else H:
        refuse(f"q has {H} heads and k has {Hkv}; the first must be a multiple of the second")
    if not 0 <= dropout < 1:
        refuse(f"dropout = {dropout} must be in [0, 1)")
    for name, x in (("bias", bias), ("mask", mask)):
        if x is not None and (
            x.ndim > 4 or any(n not in (1, m) for n, m in zip(x.shape[::-1], (S, T, H, B), strict=False))
        ):
            refuse(f"{name} has shape {x.shape}, which does not broadcast to {(B, H, T, S)}")
    if mask is not None and mask.dtype != bool:
        refuse(f"mask must be boolean (True = may attend), got {mask.dtype}; use bias to add to scores")
    if key_lengths is not None and (key_lengths.shape != (B,) or key_lengths.dtype.kind not in "iu"):
        refuse(f"key_lengths must hold B = {B} integers, got {key_lengths.dtype} {key_lengths.shape}")
    if window is not None and (window < 1 or window % 1):
        refuse(f"window = {window} must be a whole number of at least 1 (a query sees itself), or None for no window")
    if alibi_slopes is not None and (alibi_slopes.shape != (H,) or alibi_slopes.dtype.kind != "f"):
        refuse(f"alibi_slopes must hold H = {H} floats, got {alibi_slopes.dtype} {alibi_slopes.shape}")
    if softcap is not None and not softcap > 0:
        refuse(f"softcap = {softcap} must be positive, or None for no cap")


@op("q: half B T H D; k: half B S G D; v: half B S G D; bias: *any", check=_check_attention)
def attention_forward(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None = None,
    *,
    causal: bool = False,
    key_lengths: Array | None = None,
    mask: Array | None = None,
    window: int | None = None,
    alibi_slopes: Array | None = None,
    softcap: float | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    key: Key | None = None,
) -> tuple[Array, AttentionCache]:
    """Attend from queries to keys: a weighted sum of the values for each query.

    Args:
        q: (B, T, H, D) queries.
        k: (B, S, Hkv, D) keys.
        v: (B, S, Hkv, D) values.
        bias: added to the scores; broadcasts to (B, H, T, S).
        causal: query t may attend to keys s <= t + S - T only (aligned at the bottom right).
        key_lengths: (B,) integers; keys from this length on are padding.
        mask: boolean, True = may attend; broadcasts to (B, H, T, S).
        window: query t may attend only to keys closer than this, aligned at the bottom right like ``causal``: to
            itself and the ``window - 1`` keys before it and, without ``causal``, after it (Beltagy et al., 2020,
            arXiv:2004.05150).
        alibi_slopes: (H,) slopes of linear biases (Press et al., 2022, arXiv:2108.12409): head h subtracts ``slope *
            distance`` from its scores. They are constants without a gradient.
        softcap: scores before bias and ALiBi become ``softcap * tanh(score / softcap)`` (Gemma Team, 2024,
            arXiv:2408.00118).
        scale: factor on the scores, 1/sqrt(D) by default.
        dropout: rate at which probabilities are dropped, in [0, 1).
        key: random key of the dropout mask; ``None`` means evaluation.

    Returns:
        out (B, T, H, D) and the cache. A query that may attend to nothing gets zeros, and passes no gradient.
    """
    scale = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale
    q, k, v = operand(q), operand(k), operand(v)
    scores = biased(similarities(q, k, scale, softcap), bias, alibi_slopes, causal, window, key_lengths, mask)
    e, total, lse = softmax_parts(scores)
    if key is not None and dropout > 0:
        e = e * dropout_mask(e, dropout, key)
    mixed = product(operand_like(e, q), heads_first(for_queries(v, q))) / total  # (B, H, T, D)
    out = heads_first(mixed)  # (B, H, T, D) -> (B, T, H, D)
    return out, AttentionCache(
        q, k, v, bias, operand_like(out, q), lse,
        key_lengths, mask, alibi_slopes, causal, window, softcap, scale, dropout, key,
    )  # fmt: skip


@op("cache.q: half B T H D; cache.k: half B S G D; cache.v: half B S G D; cache.out: half B T H D; dout: B T H D")
def attention_backward(dout: Array, cache: AttentionCache) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of attention.

    Maps dout (B, T, H, D) to dq (B, T, H, D), dk (B, S, Hkv, D), dv (B, S, Hkv, D), dbias (bias's shape, or
    ``None``).
    """
    q, k, v, bias, out, _, key_lengths, mask, alibi_slopes, causal, window, softcap, scale, dropout, key = cache
    similar = similarities(q, k, scale, softcap)  # (B, H, T, S)
    e, total, _ = softmax_parts(biased(similar, bias, alibi_slopes, causal, window, key_lengths, mask))
    p = e / total
    do = heads_first(operand_like(dout, q))  # (B, H, T, D)
    dp = product(do, heads_first(for_queries(v, q)).swapaxes(-1, -2))  # (B, H, T, S)
    dropped = p
    if key is not None and dropout > 0:
        factors = dropout_mask(p, dropout, key)
        dropped, dp = p * factors, dp * factors
    ds = p * (dp - (wide(dout) * wide(out)).sum(axis=-1).swapaxes(1, 2)[..., None])  # (B, H, T, S)
    dz = operand_like(ds if softcap is None else ds * capped_slope(similar, softcap), q)
    dq = scale * heads_first(product(dz, heads_first(for_queries(k, q))))
    dk = scale * heads_first(product(dz.swapaxes(-1, -2), heads_first(q)))  # (B, S, H, D)
    dv = heads_first(product(operand_like(dropped, q).swapaxes(-1, -2), do))
    return dq, sum_groups(dk, k), sum_groups(dv, v), None if bias is None else sum_to(ds, bias.shape)


def softmax_parts(scores: Array) -> tuple[Array, Array, Array]:
    """The softmax of scores (B, H, T, S) as a quotient ``e / total``, and its log-sum-exp.

    The quotient is 0 in a row that may attend to nothing. Products take ``e``, whose largest element is 1, and divide
    afterwards: in 16 bits a small probability would lose digits, and the kernel then divides D numbers instead of S.

    Returns:
        e (B, H, T, S), total (B, H, T, 1), lse (B, H, T).
    """
    xp = array_module(scores)
    highest = row_maximum(scores)  # (B, H, T, 1)
    no_keys = xp.isneginf(highest)  # may attend to nothing
    e = xp.exp(scores - xp.where(no_keys, 0, highest).astype(scores.dtype))
    total = xp.where(no_keys, 1, e.sum(axis=-1, keepdims=True)).astype(scores.dtype)  # (B, H, T, 1)
    return e, total, (highest + xp.log(total))[..., 0]


def sum_groups(d: Array, kv: Array) -> Array:
    """(B, S, H, D) -> (B, S, Hkv, D): the gradients of the query heads that shared a key head add up."""
    B, S, Hkv, D = kv.shape
    return d if d.shape[2] == Hkv else d.reshape(B, S, Hkv, d.shape[2] // Hkv, D).sum(axis=3)


def sum_to(d: Array, shape: tuple[int, ...]) -> Array:
    """Sum ``d`` over the axes along which ``shape`` was broadcast."""
    lead = d.ndim - len(shape)
    stretched = tuple(i for i in range(d.ndim) if i < lead or shape[i - lead] == 1 != d.shape[i])
    return sum_over(d, stretched).reshape(shape)
