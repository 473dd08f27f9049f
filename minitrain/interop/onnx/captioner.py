"""The captioner as graphs: one for both stacks, or one for each, which generate with a cache; see `.seq2seq`."""

from __future__ import annotations

import numpy as np

from ...models.captioner import Captioner
from .blocks import block
from .cross_decoder import cache_outputs, cached_inputs, cached_layers, cross_outputs, decoder_layers, headed
from .graph import Graph, Name
from .images import embedded_images, image_input
from .layers import embedding, norm
from .places import Places
from .refusals import require_methods
from .seq2seq import TARGET, unpadded


def joint_graph(model: Captioner, opset: int) -> Graph:
    """The graph of both stacks: ``images`` (B, ...), ``decoder_input_ids`` (B, T) to ``logits`` (B, T, V)."""
    g = _graph(model, opset)
    memory = _encoded(g, model)
    ids = g.input(TARGET, np.int64, ("batch", "length"))
    places = Places(g, g.size(ids, 1), None, model.config.block_size)
    across = Places(g, places.length, None, model.image_length, total=g.size(memory, 1))
    own = unpadded(g, ids, model.config.pad_idx)
    x = places.added_positions(embedding(g, ids, model.tok_emb), model.text_pos_emb)
    x = decoder_layers(g, x, model.decoder, places, across, memory, None, own)
    return headed(g, x, model.decoder_norm, model.head, model.config.vocab_size)


def encoder_graph(model: Captioner, opset: int) -> Graph:
    """The graph of the encoder: ``images`` to ``cross.i.key`` and ``.value`` (B, H, patches, D) for each layer i."""
    g = _graph(model, opset)
    return cross_outputs(g, _encoded(g, model), model.decoder, model.image_length)


def decoder_graph(model: Captioner, opset: int) -> Graph:
    """The graph of the decoder with a cache: ``decoder_input_ids`` (B, T), the encoder's outputs and the cache."""
    g = _graph(model, opset)
    ids = g.input(TARGET, np.int64, ("batch", "length"))
    reads, pasts = cached_inputs(g, model.decoder)
    places = Places(g, g.size(ids, 1), g.size(pasts[0].keys, 2), model.config.block_size)
    across = Places(g, places.length, None, model.image_length, total=g.size(reads[0].keys, 2))
    x = places.added_positions(embedding(g, ids, model.tok_emb), model.text_pos_emb)
    x, presents = cached_layers(g, x, model.decoder, places, across, reads, pasts, None)
    headed(g, x, model.decoder_norm, model.head, model.config.vocab_size)
    return cache_outputs(g, model.decoder, presents)


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
