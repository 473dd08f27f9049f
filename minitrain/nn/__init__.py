"""Layers that own parameters and call operations."""

from .attention import MultiHeadAttention
from .block import TransformerBlock
from .conv2d import Conv2d
from .embedding import Embedding
from .feed_forward import FeedForward
from .gated_feed_forward import GatedFeedForward
from .group_norm import GroupNorm
from .layer_norm import LayerNorm
from .linear import Linear
from .masks import create_causal_mask, create_combined_mask, create_padding_mask, create_window_mask
from .module import Module
from .moe import MixtureOfExperts
from .packing import FlatGroup, decays, pack
from .parameter import Parameter
from .patch_embedding import PatchEmbedding
from .rms_norm import RMSNorm

__all__ = [
    "Conv2d",
    "Embedding",
    "FeedForward",
    "FlatGroup",
    "GatedFeedForward",
    "GroupNorm",
    "LayerNorm",
    "Linear",
    "MixtureOfExperts",
    "Module",
    "MultiHeadAttention",
    "Parameter",
    "PatchEmbedding",
    "RMSNorm",
    "TransformerBlock",
    "create_causal_mask",
    "create_combined_mask",
    "create_padding_mask",
    "create_window_mask",
    "decays",
    "pack",
]
