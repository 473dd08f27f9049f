"""The encoder-decoder as graphs: one for both stacks, or one for each, which generate with a cache.

With a cache, the encoder's graph gives what the decoder reads of a source: the keys and values of each layer's
cross-attention, computed once. The decoder's graph takes them in every call, beside the cache of its own tokens.
"""

from __future__ import annotations

import numpy as np

from ...models.seq2seq import Seq2Seq
from ...nn.layers.embedding import Embedding
from .blocks import block
from .cross_decoder import cache_outputs, cached_inputs, cached_layers, cross_outputs, decoder_layers, headed
from .graph import Graph, Name
from .layers import embedding, norm
from .places import INT64, Places
from .refusals import refuse, require_methods

SOURCE, TARGET, LENGTHS = "input_ids", "decoder_input_ids", "source_lengths"


def joint_graph(model: Seq2Seq, opset: int) -> Graph:
    """The graph of both stacks: ``input_ids`` (B, S), ``decoder_input_ids`` (B, T) to ``logits`` (B, T, V).

    Source and target are padded at the end, as the model's own are.
    """
    g = _graph(model, opset)
    source, target = _tokens(g, SOURCE, "source"), _tokens(g, TARGET, "length")
    memory, lengths = _encoded(g, source, model)
    places = Places(g, g.size(target, 1), None, model.config.block_size)
    across = Places(g, places.length, None, model.config.block_size, total=g.size(memory, 1))
    own = unpadded(g, target, model.config.pad_idx)
    x = _embedded(g, target, model.target_emb, model, places)
    x = decoder_layers(g, x, model.decoder, places, across, memory, lengths, own)
    return headed(g, x, model.decoder_norm, model.head, model.config.n_targets)


def encoder_graph(model: Seq2Seq, opset: int) -> Graph:
    """The graph of the encoder: ``input_ids`` (B, S) to what the decoder reads.

    That is ``source_lengths`` (B,), the number of tokens of each source, and ``cross.i.key`` and ``.value``
    (B, H, S, D) for each layer i of the decoder.
    """
    g = _graph(model, opset)
    memory, lengths = _encoded(g, _tokens(g, SOURCE, "source"), model)
    g.output(LENGTHS, lengths, np.int64, ("batch",))
    return cross_outputs(g, memory, model.decoder, model.config.block_size)


def decoder_graph(model: Seq2Seq, opset: int) -> Graph:
    """The graph of the decoder with a cache.

    Inputs are ``decoder_input_ids`` (B, T), the outputs of the encoder, and the cache as in
    `minitrain.interop.onnx.decoder`. A target has no padding: stop using a row after its end.
    """
    g = _graph(model, opset)
    ids, lengths = _tokens(g, TARGET, "length"), g.input(LENGTHS, np.int64, ("batch",))
    reads, pasts = cached_inputs(g, model.decoder)
    places = Places(g, g.size(ids, 1), g.size(pasts[0].keys, 2), model.config.block_size)
    across = Places(g, places.length, None, model.config.block_size, total=g.size(reads[0].keys, 2))
    x = _embedded(g, ids, model.target_emb, model, places)
    x, presents = cached_layers(g, x, model.decoder, places, across, reads, pasts, lengths)
    headed(g, x, model.decoder_norm, model.head, model.config.n_targets)
    return cache_outputs(g, model.decoder, presents)


def _graph(model: Seq2Seq, opset: int) -> Graph:
    require_methods(model, Seq2Seq, "forward", "encode", "decode", "_embed")
    if model.pointer is not None:
        refuse("pointer", model.pointer, ())
    return Graph(type(model).__name__, opset, model)


def _tokens(g: Graph, name: str, length: str) -> Name:
    return g.input(name, np.int64, ("batch", length))


def unpadded(g: Graph, ids: Name, pad_idx: int) -> Name:
    """int64 (B,): the number of tokens that are not padding."""
    real = g.node("Not", g.node("Equal", ids, g.constant(pad_idx, np.int64)))
    return g.node("ReduceSum", g.node("Cast", real, to=INT64), g.ints(1), keepdims=0)


def _embedded(g: Graph, ids: Name, table: Embedding, model: Seq2Seq, places: Places) -> Name:
    """(B, T, C): vectors of tokens, scaled, plus the positions."""
    x = g.node("Mul", embedding(g, ids, table), g.constant(model.scale))
    return places.added_positions(x, model.positions)


def _encoded(g: Graph, source: Name, model: Seq2Seq) -> tuple[Name, Name]:
    """The encoder's output (B, S, C) and the lengths (B,)."""
    places = Places(g, g.size(source, 1), None, model.config.block_size)
    lengths = unpadded(g, source, model.config.pad_idx)
    x = _embedded(g, source, model.source_emb, model, places)
    for i, layer in enumerate(model.encoder):
        with g.scope(f"encoder.{i}"):
            x, _ = block(g, x, layer, places, lengths=lengths)
    return norm(g, x, model.encoder_norm), lengths
