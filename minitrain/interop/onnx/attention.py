"""Attention as nodes of a graph: projections, norms and rotations of queries and keys, the cache, the mixing.

Arrays have the heads second, (B, H, T, D), as the operator Attention wants them; the library's own have them third.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...nn.attention.cross_attention import CrossAttention
from ...nn.attention.self_attention import MultiHeadAttention
from .graph import Graph, Name
from .layers import linear, norm
from .places import Mask, Places
from .refusals import require_option


class KeysAndValues(NamedTuple):
    """Keys and values of a layer, each (B, Hkv, S, D)."""

    keys: Name
    values: Name


def self_attention(
    g: Graph,
    x: Name,
    layer: MultiHeadAttention,
    places: Places,
    *,
    past: KeysAndValues | None = None,
    lengths: Name | None = None,
) -> tuple[Name, KeysAndValues]:
    """Self-attention of x (B, T, C).

    Args:
        g: the graph.
        x: (B, T, C).
        layer: the layer.
        places: the positions.
        past: keys and values of the tokens before, if there is a cache.
        lengths: int64 (B,), keys from this position on are padding.

    Returns:
        out (B, T, C), and the keys and values of all S tokens.
    """
    g.require(layer, MultiHeadAttention)
    require_option("MultiHeadAttention", "softcap", layer.softcap, None)
    H, G, D = layer.heads, layer.kv_heads, layer.head_width
    q, k, v = _heads(g, linear(g, x, layer.qkv), (H, G, G), D)
    q, k = _normalised(g, q, layer.q_norm), _normalised(g, k, layer.k_norm)
    if layer.rope is not None:
        q, k = (places.rotated(one, layer.rope, D) for one in (q, k))
    if past is not None:
        k = g.node("Concat", past.keys, k, axis=2)
        v = g.node("Concat", past.values, v, axis=2)
    mask = places.mask(
        causal=layer.causal,
        window=layer.window,
        alibi=None if layer.alibi_slopes is None else H,
        lengths=lengths,
    )
    mixed = _mixed(g, q, KeysAndValues(k, v), mask, (H, G, D), places.total)
    return linear(g, mixed, layer.out), KeysAndValues(k, v)


def cross_keys(g: Graph, memory: Name, layer: CrossAttention, longest: int) -> KeysAndValues:
    """The keys and values that a cross-attention reads, of memory (B, S, C) with S at most ``longest``."""
    g.require(layer, CrossAttention)
    k, v = _heads(g, linear(g, memory, layer.kv), (layer.kv_heads, layer.kv_heads), layer.head_width)
    k = _normalised(g, k, layer.k_norm)
    if layer.rope is not None:
        k = Places(g, g.size(memory, 1), None, longest).rotated(k, layer.rope, layer.head_width)
    return KeysAndValues(k, v)


def cross_attention(
    g: Graph,
    x: Name,
    layer: CrossAttention,
    memory: KeysAndValues,
    own: Places,
    places: Places,
    lengths: Name | None,
) -> Name:
    """Attention of x (B, T, C) to the keys and values of ``cross_keys``: (B, T, C).

    Args:
        g: the graph.
        x: (B, T, C).
        layer: the layer.
        memory: the keys and values.
        own: the positions of x.
        places: with the number of keys as ``total``.
        lengths: int64 (B,), keys from this position on are padding; ``None`` if none is.
    """
    (q,) = _heads(g, linear(g, x, layer.q), (layer.heads,), layer.head_width)
    q = _normalised(g, q, layer.q_norm)
    if layer.rope is not None:
        q = own.rotated(q, layer.rope, layer.head_width)
    mask = places.mask(causal=False, window=None, alibi=None, lengths=lengths)
    mixed = _mixed(g, q, memory, mask, (layer.heads, layer.kv_heads, layer.head_width), places.total)
    return linear(g, mixed, layer.out)


def _heads(g: Graph, packed: Name, heads: Sequence[int], width: int) -> list[Name]:
    """(B, T, sum(heads) D) -> one (B, h, T, D) for each number h in ``heads``."""
    parts = [packed]
    if len(heads) > 1:
        parts = g.nodes_of("Split", (packed, g.ints(*(h * width for h in heads))), len(heads), axis=-1)
    return [
        g.node("Transpose", g.node("Reshape", part, g.ints(0, 0, h, width)), perm=[0, 2, 1, 3])  # 0 keeps a size
        for part, h in zip(parts, heads, strict=True)
    ]


def _normalised(g: Graph, x: Name, layer: Any) -> Name:
    """Queries or keys x (B, H, T, D) under the norm over the head width, if there is one."""
    return x if layer is None else norm(g, x, layer)


def _mixed(g: Graph, q: Name, kv: KeysAndValues, mask: Mask | None, heads: tuple[int, int, int], total: Name) -> Name:
    """Attend: q (B, H, T, D), keys and values (B, Hkv, S, D) to (B, T, H D)."""
    H, _, D = heads
    if g.fused:
        out = g.node("Attention", q, *kv, *([mask.added] if mask else []))
    else:
        out = _attention(g, q, kv, mask, heads, total)
    if mask is not None and mask.live is not None:
        out = g.node("Mul", out, mask.live)
    return g.node("Reshape", g.node("Transpose", out, perm=[0, 2, 1, 3]), g.ints(0, 0, H * D))


def _attention(
    g: Graph, q: Name, kv: KeysAndValues, mask: Mask | None, heads: tuple[int, int, int], total: Name
) -> Name:
    """``softmax(q k^T / sqrt(D) + mask) v`` in basic operators: (B, H, T, D).

    The queries of a group stand one below the other, (B, Hkv, H/Hkv T, D), while they meet their keys: so the keys are
    not repeated for them.
    """
    H, G, D = heads
    q = g.node("Mul", q, g.constant(1 / math.sqrt(D)))

    def grouped(x: Name, heads: int, last: Name | None = None) -> Name:
        """The same numbers x with another number of heads; the last axis is D long, or ``last``."""
        if H == G:
            return x
        shape = g.ints(0, heads, -1, D) if last is None else g.node("Concat", g.ints(0, heads, -1), last, axis=0)
        return g.node("Reshape", x, shape)

    scores = g.node("MatMul", grouped(q, G), g.node("Transpose", kv.keys, perm=[0, 1, 3, 2]))
    scores = grouped(scores, H, total)  # (B, H, T, S)
    if mask is not None:
        scores = g.node("Add", scores, mask.added)
    shares = grouped(g.node("Softmax", scores, axis=-1), G, total)
    return grouped(g.node("MatMul", shares, kv.values), H)
