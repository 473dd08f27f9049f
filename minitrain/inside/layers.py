"""How the parts of a layer are seen and replaced: from its input, its output and its cache.

The layers' own code does not know of this. What a layer keeps for its backward is enough to compute the rest again,
from whatever was replaced on.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..backend.arrays import Array, array_module
from ..backend.precision import wide
from ..nn.attention.cross_attention import CrossAttention
from ..nn.attention.self_attention import MultiHeadAttention
from ..nn.layers.feed_forward import FeedForward
from ..nn.layers.gated_feed_forward import GatedFeedForward
from ..ops.activations.gelu import gelu_forward
from ..ops.attention.attention import AttentionCache, attention_forward
from ..ops.attention.attention_scores import biased, for_queries, heads_first, similarities
from ..ops.contract.log_sum_exp import row_maximum
from ..ops.contract.products import product

OPTIONS = ("causal", "key_lengths", "mask", "window", "alibi_slopes", "softcap", "scale", "dropout", "key")


class Visit(Protocol):
    """Shows a value to whoever looks."""

    def __call__(self, kind: str, value: Array) -> Array:
        """The value itself, or what replaces it."""

    def wanted(self, kind: str) -> bool:
        """Whether somebody looks: some values are computed for that alone."""


def inside_attention(layer: MultiHeadAttention | CrossAttention, out: Array, cache: Any, visit: Visit) -> Array:
    """Visit queries, keys, values, weights and mixed values; returns out (B, T, C)."""
    kept: AttentionCache = cache.attention
    mixed = computed = wide(kept.out)
    own = wide(kept.q), wide(kept.k), wide(kept.v)
    q, k, v = (visit(kind, x) for kind, x in zip("qkv", own, strict=True))
    if q is not own[0] or k is not own[1] or v is not own[2]:
        mixed, kept = attention_forward(q, k, v, kept.bias, **{name: getattr(kept, name) for name in OPTIONS})
    if visit.wanted("weights"):
        weights = attention_weights(kept)
        replaced = visit("weights", weights)
        if replaced is not weights:
            mixed = heads_first(product(replaced, heads_first(for_queries(v, q))))  # (B, T, H, D)
    mixed = visit("mixed", mixed)
    if mixed is not computed:
        out, _ = layer.out.forward(mixed.reshape(*mixed.shape[:2], -1))  # (B, T, H D) -> (B, T, C)
    return out


def attention_weights(kept: AttentionCache) -> Array:
    """The attention pattern (B, H, T, S), before dropout, from what attention keeps for its backward.

    Rows sum to 1; a query that may attend to nothing has zeros.
    """
    similar = similarities(kept.q, kept.k, kept.scale, kept.softcap)
    scores = biased(similar, kept.bias, kept.alibi_slopes, kept.causal, kept.window, kept.key_lengths, kept.mask)
    xp, highest = array_module(scores), row_maximum(scores)  # (B, H, T, 1)
    e = xp.exp(scores - xp.where(xp.isneginf(highest), 0, highest).astype(scores.dtype))
    total = e.sum(axis=-1, keepdims=True)
    return e / xp.where(total == 0, 1, total).astype(e.dtype)  # type: ignore[no-any-return]


def inside_feed_forward(layer: FeedForward | GatedFeedForward, x: Array, out: Array, visit: Visit) -> Array:
    """Visit the hidden layer of a feed-forward layer with input x (..., C); returns out (..., C)."""
    if not visit.wanted("hidden"):
        return out
    up, _ = layer.up.forward(x)
    if isinstance(layer, FeedForward):
        hidden, _ = gelu_forward(up, approximate=layer.approximate)
    else:
        hidden, _ = layer.activate(layer.gate.forward(x)[0], up)
    replaced = visit("hidden", hidden)
    return out if replaced is hidden else layer.down.forward(replaced)[0]
