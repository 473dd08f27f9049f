"""Whole models, built from layers: GPT, Llama, encoders, an encoder–decoder, a vision transformer, an MLP."""

from .dual_encoder import DualEncoder, ImageTextBatch
from .encoder import Encoder, EncoderConfig
from .gpt import GPT, GPTConfig
from .llama import Llama, LlamaConfig
from .mlp import MLP, MLPConfig
from .presets import PRESETS, build_model
from .seq2seq import Seq2Seq
from .seq2seq_config import Seq2SeqConfig
from .vit import ViT, ViTConfig

__all__ = [
    "GPT",
    "MLP",
    "PRESETS",
    "DualEncoder",
    "Encoder",
    "EncoderConfig",
    "GPTConfig",
    "ImageTextBatch",
    "Llama",
    "LlamaConfig",
    "MLPConfig",
    "Seq2Seq",
    "Seq2SeqConfig",
    "ViT",
    "ViTConfig",
    "build_model",
]
