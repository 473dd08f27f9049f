"""Layers that own parameters and call operations."""

from .attention import MultiHeadAttention
from .block import PreNormBlock, TransformerBlock
from .contrastive import ClipLoss, SiglipLoss
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
from .lora import LoRALinear, add_lora, lora_state_dict, merge_lora
from .masks import (
    create_causal_mask,
    create_combined_mask,
    create_document_mask,
    create_padding_mask,
    create_window_mask,
)
from .module import Module
from .moe import MixtureOfExperts
from .packing import FlatGroup, decays, pack
from .param_groups import ParamGroup, assign_groups, freeze
from .parameter import Parameter
from .patch_embedding import PatchEmbedding
from .positions import LearnedPositions, SinusoidalPositions, alibi_slopes
from .recompute import checkpoint_activations
from .rms_norm import RMSNorm
from .temperature import Temperature

__all__ = [
    "ClipLoss",
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
    "LoRALinear",
    "MixtureOfExperts",
    "Module",
    "MultiHeadAttention",
    "ParamGroup",
    "Parameter",
    "PatchEmbedding",
    "PreNormBlock",
    "RMSNorm",
    "Rope",
    "SiglipLoss",
    "SinusoidalPositions",
    "Temperature",
    "TransformerBlock",
    "add_lora",
    "alibi_slopes",
    "assign_groups",
    "checkpoint_activations",
    "create_causal_mask",
    "create_combined_mask",
    "create_document_mask",
    "create_padding_mask",
    "create_window_mask",
    "decays",
    "freeze",
    "lora_state_dict",
    "merge_lora",
    "pack",
]
