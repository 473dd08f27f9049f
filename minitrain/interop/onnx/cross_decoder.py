"""The decoder of an encoder-decoder as a graph, with a cache or without; what the encoder gives it.

`.seq2seq` and `.captioner` share it: they differ in what they encode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...nn.blocks.decoder_block import DecoderBlock
from ...nn.layers.layer_norm import LayerNorm
from ...nn.layers.linear import Linear
from .attention import KeysAndValues, cross_attention, cross_keys, self_attention
from .decoder import cache_input, cache_output
from .graph import Graph, Name
from .layers import feed_forward, norm
from .places import Places


def cross_names(i: int) -> tuple[Name, Name]:
    """The names of the keys and of the values that layer i reads of the source."""
    return f"cross.{i}.key", f"cross.{i}.value"


def cross_shape(layer: DecoderBlock) -> tuple[int | str, ...]:
    """The shape of these, (B, Hkv, S, D)."""
    return ("batch", layer.cross.kv_heads, "source", layer.cross.head_width)


def decoder_block(
    g: Graph,
    x: Name,
    layer: DecoderBlock,
    places: Places,
    across: Places,
    read: KeysAndValues,
    lengths: Name | None,
    *,
    past: KeysAndValues | None = None,
    own: Name | None = None,
) -> tuple[Name, KeysAndValues]:
    """Self-attention, attention to ``read``, and the feed-forward layer, each on a normalised copy of x (B, T, C)."""
    g.require(layer, DecoderBlock)
    with g.scope("attention"):
        normed = norm(g, x, layer.norm1)
        branch, kv = self_attention(g, normed, layer.attention, places, past=past, lengths=own)
        x = g.node("Add", x, branch)
    with g.scope("cross"):
        x = g.node("Add", x, cross_attention(g, norm(g, x, layer.norm2), layer.cross, read, places, across, lengths))
    with g.scope("feed_forward"):
        x = g.node("Add", x, feed_forward(g, norm(g, x, layer.norm3), layer.feed_forward))
    return x, kv


def decoder_layers(
    g: Graph,
    x: Name,
    layers: Sequence[DecoderBlock],
    places: Places,
    across: Places,
    memory: Name,
    lengths: Name | None,
    own: Name,
) -> Name:
    """All blocks on x (B, T, C) without a cache; ``memory`` (B, S, C), its ``lengths`` and the ``own`` ones (B,).

    ``across.longest`` is the greatest S.
    """
    for i, layer in enumerate(layers):
        with g.scope(f"decoder.{i}"):
            with g.scope("cross"):
                read = cross_keys(g, memory, layer.cross, across.longest)
            x, _ = decoder_block(g, x, layer, places, across, read, lengths, own=own)
    return x


def cross_outputs(g: Graph, memory: Name, layers: Sequence[DecoderBlock], longest: int) -> Graph:
    """Outputs of an encoder: keys and values of ``memory`` (B, S, C) for each block; S is at most ``longest``."""
    for i, layer in enumerate(layers):
        with g.scope(f"decoder.{i}.cross"):
            read = cross_keys(g, memory, layer.cross, longest)
        for name, value in zip(cross_names(i), read, strict=True):
            g.output(name, value, np.float32, cross_shape(layer))
    return g


def cached_inputs(g: Graph, layers: Sequence[DecoderBlock]) -> tuple[list[KeysAndValues], list[KeysAndValues]]:
    """Inputs of a decoder: what each block reads of the source, and its cache."""
    reads, pasts = [], []
    for i, layer in enumerate(layers):
        g.require(layer, DecoderBlock)
        reads.append(KeysAndValues(*(g.input(name, np.float32, cross_shape(layer)) for name in cross_names(i))))
        pasts.append(cache_input(g, i, layer.attention))
    return reads, pasts


def cached_layers(
    g: Graph,
    x: Name,
    layers: Sequence[DecoderBlock],
    places: Places,
    across: Places,
    reads: Sequence[KeysAndValues],
    pasts: Sequence[KeysAndValues],
    lengths: Name | None,
) -> tuple[Name, list[KeysAndValues]]:
    """All blocks on x (B, T, C) with a cache, and the longer cache."""
    presents = []
    for i, layer in enumerate(layers):
        with g.scope(f"decoder.{i}"):
            x, kv = decoder_block(g, x, layer, places, across, reads[i], lengths, past=pasts[i])
        presents.append(kv)
    return x, presents


def cache_outputs(g: Graph, layers: Sequence[DecoderBlock], presents: Sequence[KeysAndValues]) -> Graph:
    """The outputs of the longer cache."""
    for i, (layer, kv) in enumerate(zip(layers, presents, strict=True)):
        cache_output(g, i, layer.attention, kv)
    return g


def headed(g: Graph, x: Name, last: LayerNorm, head: Linear, width: int) -> Graph:
    """The final norm and the head: the output ``logits`` (B, T, width)."""
    logits = g.node("MatMul", norm(g, x, last), g.transposed(head.weight))
    g.output("logits", logits, np.float32, ("batch", "length", width))
    return g
