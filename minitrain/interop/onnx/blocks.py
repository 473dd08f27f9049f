"""Transformer blocks as nodes of a graph."""

from __future__ import annotations

from ...nn.blocks.block import PreNormBlock, TransformerBlock
from .attention import KeysAndValues, self_attention
from .graph import Graph, Name
from .layers import feed_forward, norm
from .places import Places


def block(
    g: Graph,
    x: Name,
    layer: PreNormBlock,
    places: Places,
    *,
    past: KeysAndValues | None = None,
    lengths: Name | None = None,
) -> tuple[Name, KeysAndValues]:
    """``x = x + attention(norm1(x))``, then ``x = x + feed_forward(norm2(x))``; see `self_attention`."""
    g.require(layer, PreNormBlock, TransformerBlock)
    with g.scope("attention"):
        normed = norm(g, x, layer.norm1)
        branch, kv = self_attention(g, normed, layer.attention, places, past=past, lengths=lengths)
        x = g.node("Add", x, branch)
    with g.scope("feed_forward"):
        x = g.node("Add", x, feed_forward(g, norm(g, x, layer.norm2), layer.feed_forward))
    return x, kv
