"""The captioner as graphs: one for both stacks, or one for each, which generate with a cache; see `.seq2seq`."""

from __future__ import annotations

import numpy as np

from ...models.captioner import Captioner
from ...nn.blocks.decoder_block import DecoderBlock
from .attention import KeysAndValues, cross_keys
from .blocks import block
from .decoder import cache_input, cache_output
from .graph import Graph, Name
from .images import embedded_images, image_input
from .layers import embedding, norm
from .places import Places
from .refusals import require_methods
from .seq2seq import TARGET, cross_names, cross_shape, decoder_block, unpadded


def joint_graph(model: Captioner, opset: int) -> Graph:
    """The graph of both stacks: ``images`` (B, ...), ``decoder_input_ids`` (B, T) to ``logits`` (B, T, V)."""
    g = _graph(model, opset)
    memory = _encoded(g, model)
    ids = g.input(TARGET, np.int64, ("batch", "length"))
    places = Places(g, g.size(ids, 1), None, model.config.block_size)
    across = Places(g, places.length, None, model.config.block_size, total=g.size(memory, 1))
    own = unpadded(g, ids, model.config.pad_idx)
    x = places.added_positions(embedding(g, ids, model.tok_emb), model.text_pos_emb)
    for i, layer in enumerate(model.decoder):
        with g.scope(f"decoder.{i}"):
            with g.scope("cross"):
                read = cross_keys(g, memory, layer.cross)
            x, _ = decoder_block(g, x, layer, places, across, read, None, own=own)
    return _headed(g, x, model)


def encoder_graph(model: Captioner, opset: int) -> Graph:
    """The graph of the encoder: ``images`` to ``cross.i.key`` and ``.value`` (B, H, patches, D) for each layer i."""
    g = _graph(model, opset)
    memory = _encoded(g, model)
    for i, layer in enumerate(model.decoder):
        with g.scope(f"decoder.{i}.cross"):
            read = cross_keys(g, memory, layer.cross)
        for name, value in zip(cross_names(i), read, strict=True):
            g.output(name, value, np.float32, cross_shape(layer))
    return g


def decoder_graph(model: Captioner, opset: int) -> Graph:
    """The graph of the decoder with a cache: ``decoder_input_ids`` (B, T), the encoder's outputs and the cache."""
    g = _graph(model, opset)
    ids = g.input(TARGET, np.int64, ("batch", "length"))
    reads, pasts = [], []
    for i, layer in enumerate(model.decoder):
        g.require(layer, DecoderBlock)
        reads.append(KeysAndValues(*(g.input(name, np.float32, cross_shape(layer)) for name in cross_names(i))))
        pasts.append(cache_input(g, i, layer.attention))
    places = Places(g, g.size(ids, 1), g.size(pasts[0].keys, 2), model.config.block_size)
    across = Places(g, places.length, None, model.config.block_size, total=g.size(reads[0].keys, 2))
    x = places.added_positions(embedding(g, ids, model.tok_emb), model.text_pos_emb)
    presents = []
    for i, layer in enumerate(model.decoder):
        with g.scope(f"decoder.{i}"):
            x, kv = decoder_block(g, x, layer, places, across, reads[i], None, past=pasts[i])
        presents.append(kv)
    _headed(g, x, model)
    for i, (layer, kv) in enumerate(zip(model.decoder, presents, strict=True)):
        cache_output(g, i, layer.attention, kv)
    return g


def _graph(model: Captioner, opset: int) -> Graph:
    require_methods(model, Captioner, "forward", "encode", "decode", "embed")
    return Graph(type(model).__name__, opset, model)


def _encoded(g: Graph, model: Captioner) -> Name:
    """The encoder's output (B, patches, C) for the input ``images``."""
    x, places = embedded_images(g, image_input(g, model), model)
    for i, layer in enumerate(model.encoder):
        with g.scope(f"encoder.{i}"):
            x, _ = block(g, x, layer, places)
    return norm(g, x, model.encoder_norm)


def _headed(g: Graph, x: Name, model: Captioner) -> Graph:
    """The final norm and the head."""
    logits = g.node("MatMul", norm(g, x, model.decoder_norm), g.transposed(model.head.weight))
    g.output("logits", logits, np.float32, ("batch", "length", model.config.vocab_size))
    return g
