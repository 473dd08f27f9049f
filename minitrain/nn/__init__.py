"""Layers that own parameters and call operations."""

from .attention import MultiHeadAttention
from .block import TransformerBlock
from .cross_attention import CrossAttention
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
from .positions import LearnedPositions, SinusoidalPositions, alibi_slopes
from .rms_norm import RMSNorm
from .temperature import Temperature

__all__ = [
    "CrossAttention",
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
