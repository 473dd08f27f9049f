"""Cases of transformer blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...nn.attention.heads import Rope
from ...nn.attention.self_attention import MultiHeadAttention
from ...nn.blocks.block import PreNormBlock, TransformerBlock
from ...nn.blocks.decoder_block import DecoderBlock
from ...nn.blocks.post_norm_block import PostNormBlock
from ...nn.layers.gated_feed_forward import GatedFeedForward
from ...nn.layers.rms_norm import RMSNorm
from ...random import Key
from .layer import Generator, layer_case

KEY = Key.from_seed(8)


def stream_and_memory(rng: Generator) -> tuple[Any, ...]:
    """Inputs of a decoder's block: x (B, T, C) = (2, 4, 8) and a longer memory."""
    return rng.standard_normal((2, 4, 8)), rng.standard_normal((2, 5, 8))


def llama_block(rng: Generator) -> PreNormBlock:
    """A block made of Llama's parts."""
    attention = MultiHeadAttention(8, 4, rng, kv_heads=2, rope=Rope(), bias=False, dropout=0.4)
    return PreNormBlock(RMSNorm(8), attention, RMSNorm(8), GatedFeedForward(8, 5, rng), dropout=0.4)


layer_case("block", lambda rng: TransformerBlock(8, 2, rng))
layer_case("block with dropout", lambda rng: TransformerBlock(8, 4, rng, dropout=0.4, bias=False), key=KEY)
layer_case(
    "encoder's block, padded", lambda rng: TransformerBlock(8, 2, rng, causal=False), key_lengths=np.array([4, 2])
)
layer_case("Llama's block", llama_block, key=KEY)
layer_case("BERT's block, padded", lambda rng: PostNormBlock(8, 2, rng, hidden=5), key_lengths=np.array([4, 2]))
layer_case("BERT's block with dropout", lambda rng: PostNormBlock(8, 4, rng, dropout=0.4), key=KEY)
layer_case("decoder's block", lambda rng: DecoderBlock(8, 2, rng), stream_and_memory)
layer_case(
    "decoder's block, padded, with dropout",
    lambda rng: DecoderBlock(8, 4, rng, dropout=0.4, bias=False),
    stream_and_memory,
    key_lengths=np.array([4, 2]),
    memory_lengths=np.array([2, 5]),
    key=KEY,
)
