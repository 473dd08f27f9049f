"""Layers that own parameters and call operations; packing into flat buffers; adapters."""

from .adapters.lora import LoRALinear, add_lora, lora_state_dict, merge_lora
from .attention.cross_attention import CrossAttention
from .attention.heads import Rope
from .attention.masks import (
    create_causal_mask,
    create_combined_mask,
    create_document_mask,
    create_padding_mask,
    create_window_mask,
)
from .attention.positions import LearnedPositions, SinusoidalPositions, alibi_slopes
from .attention.self_attention import MultiHeadAttention
from .blocks.block import PreNormBlock, TransformerBlock
from .blocks.decoder_block import DecoderBlock
from .blocks.recompute import checkpoint_activations
from .core.assign import assign_groups, freeze
from .core.groups import ParamGroup
from .core.module import Module
from .core.packing import FlatGroup, decays, pack
from .core.parameter import Parameter
from .layers.contrastive import ClipLoss, SiglipLoss
from .layers.conv2d import Conv2d
from .layers.embedding import Embedding
from .layers.feed_forward import FeedForward
from .layers.gated_feed_forward import GatedFeedForward
from .layers.group_norm import GroupNorm
from .layers.layer_norm import LayerNorm
from .layers.linear import Linear
from .layers.moe import MixtureOfExperts
from .layers.patch_embedding import PatchEmbedding
from .layers.rms_norm import RMSNorm
from .layers.temperature import Temperature

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
