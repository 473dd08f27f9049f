"""Decoders (GPT, Llama) as graphs, with or without a cache.

With a cache, the graph takes the new tokens and the keys and values of the tokens before them, and gives logits and the
keys and values of all tokens, which the next call takes. The names are those of Hugging Face's exports.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models.common.decoder import Decoder
from .attention import KeysAndValues
from .blocks import block
from .graph import Graph
from .layers import embedding, norm
from .places import Places
from .refusals import require_methods

TOKENS, LOGITS = "input_ids", "logits"


def decoder_graph(model: Decoder, opset: int, *, cache: bool) -> Graph:
    """The graph of a decoder.

    Inputs are ``input_ids`` (B, T) and, with a cache, ``past_key_values.i.key`` and ``.value`` (B, Hkv, P, D) for each
    layer i, with P = 0 at first. Outputs are ``logits`` (B, T, V) and ``present.i.key`` and ``.value``
    (B, Hkv, P + T, D).

    Raises:
        ConfigError: if the model has a part that cannot be written.
    """
    require_methods(model, Decoder, "forward", "forward_hidden")
    g = Graph(type(model).__name__, opset, model)
    ids = g.input(TOKENS, np.int64, ("batch", "length"))
    pasts = [cache_input(g, i, layer.attention) for i, layer in enumerate(model.blocks)] if cache else None
    places = Places(g, g.size(ids, 1), g.size(pasts[0].keys, 2) if pasts else None, model.config.block_size)
    with g.scope("embedding"):
        x = places.added_positions(embedding(g, ids, model.tok_emb), model.pos_emb)
    presents = []
    for i, layer in enumerate(model.blocks):
        with g.scope(f"blocks.{i}"):
            x, kv = block(g, x, layer, places, past=pasts[i] if pasts else None)
        presents.append(kv)
    logits = g.node("MatMul", norm(g, x, model.norm), g.transposed(model.head.weight))
    g.output(LOGITS, logits, np.float32, ("batch", "length", model.head.out_features))
    if cache:
        for i, (layer, kv) in enumerate(zip(model.blocks, presents, strict=True)):
            cache_output(g, i, layer.attention, kv)
    return g


def cache_input(g: Graph, i: int, attention: Any) -> KeysAndValues:
    """Declare the inputs for the keys and values of layer ``i``."""
    shape = ("batch", attention.kv_heads, "past", attention.head_width)
    return KeysAndValues(*(g.input(f"past_key_values.{i}.{part}", np.float32, shape) for part in ("key", "value")))


def cache_output(g: Graph, i: int, attention: Any, kv: KeysAndValues) -> None:
    """Declare the outputs for the keys and values of layer ``i``."""
    shape: tuple[int | str, ...] = ("batch", attention.kv_heads, "total", attention.head_width)
    for part, value in zip(("key", "value"), kv, strict=True):
        g.output(f"present.{i}.{part}", value, np.float32, shape)
