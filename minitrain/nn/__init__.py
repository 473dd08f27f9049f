"""Layers that own parameters and call operations."""

from .attention import MultiHeadAttention
from .block import PreNormBlock, TransformerBlock
from .conv2d import Conv2d
from .cross_attention import CrossAttention
from .decoder_block import DecoderBlock
from .embedding import Embedding
from .feed_forward import FeedForward
from .gated_feed_forward import GatedFeedForward
from .group_norm import GroupNorm
from .heads import Rope
from .layer_norm import LayerNorm
from .linear import Linear
from .masks import create_causal_mask, create_combined_mask, create_padding_mask, create_window_mask
from .module import Module
from .packing import FlatGroup, decays, pack
from .parameter import Parameter
from .patch_embedding import PatchEmbedding
from .positions import LearnedPositions, SinusoidalPositions, alibi_slopes
from .rms_norm import RMSNorm
from .temperature import Temperature

__all__ = [
    "Conv2d",
    "CrossAttention",
    "DecoderBlock",
    "Embedding",
    "FeedForward",
    "FlatGroup",
    "GatedFeedForward",
    "GroupNorm",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "PatchEmbedding",
    "PreNormBlock",
    "RMSNorm",
    "Rope",
    "SinusoidalPositions",
    "Temperature",
    "TransformerBlock",
    "alibi_slopes",
    "create_causal_mask",
    "create_combined_mask",
    "create_padding_mask",
    "create_window_mask",
    "decays",
    "pack",
]
