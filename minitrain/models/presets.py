"""Models by name: small ones to start with, and the sizes in benchmarks and papers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ConfigError, nearest
from ..nn.core.module import Module
from .bert import Bert, BertConfig
from .captioner import Captioner, CaptionerConfig
from .clip import Clip, ClipConfig
from .common.config import CheckedConfig
from .encoder import Encoder, EncoderConfig
from .gpt import GPT, GPTConfig
from .llama import Llama, LlamaConfig
from .masked import MaskedEncoder, MaskedEncoderConfig
from .mlp import MLP, MLPConfig
from .seq2seq import Seq2Seq
from .seq2seq_config import Seq2SeqConfig
from .vit import ViT, ViTConfig

PRESETS: dict[str, Any] = {
    # minGPT's smallest, for its demonstration of two-digit sums
    "gpt-nano": GPTConfig(vocab_size=10, block_size=6, n_layer=3, n_head=3, n_embd=48),
    # nanoGPT on Shakespeare's characters, on a CPU and on a GPU
    "gpt-char": GPTConfig(vocab_size=65, block_size=64, n_layer=4, n_head=4, n_embd=128),
    "gpt-baby": GPTConfig(vocab_size=65, block_size=256, n_layer=6, n_head=6, n_embd=384, dropout=0.2),
    # the smallest of Radford et al., 2019
    "gpt2": GPTConfig(
        vocab_size=50257, block_size=1024, n_layer=12, n_head=12, n_embd=768, dropout=0.1, bias=True, gelu="tanh"
    ),
    "llama-char": LlamaConfig(vocab_size=65, block_size=64, n_layer=4, n_head=4, n_embd=128, n_kv_head=2),
    "llama-baby": LlamaConfig(vocab_size=65, block_size=256, n_layer=6, n_head=6, n_embd=384, n_kv_head=2, dropout=0.2),
    # Karpathy's stories15M: Llama 2's vocabulary, tied
    "llama-15m": LlamaConfig(
        vocab_size=32000, block_size=256, n_layer=6, n_head=6, n_embd=288, n_hidden=768, tie_weights=True
    ),
    "encoder-tiny": EncoderConfig(
        vocab_size=256, n_classes=2, block_size=128, n_layer=2, n_head=4, n_embd=64, dropout=0.1
    ),
    # the body of BERT base (Devlin et al., 2018), pre-norm
    "encoder-base": EncoderConfig(
        vocab_size=30522, n_classes=2, block_size=512, n_layer=12, n_head=12, n_embd=768, dropout=0.1, pool="first"
    ),
    "masked-tiny": MaskedEncoderConfig(vocab_size=257, block_size=64, n_layer=2, n_head=4, n_embd=64),
    # BERT base with its objective, pre-norm
    "masked-base": MaskedEncoderConfig(
        vocab_size=30522, block_size=512, n_layer=12, n_head=12, n_embd=768, dropout=0.1
    ),
    # all-MiniLM-L6-v2, an encoder of sentences (Wang et al., 2020, arXiv:2002.10957)
    "bert-minilm": BertConfig(
        vocab_size=30522, block_size=512, n_layer=6, n_head=12, n_embd=384, n_hidden=1536, dropout=0.1
    ),
    # the copy task of "The Annotated Transformer"
    "seq2seq-copy": Seq2SeqConfig(vocab_size=11, block_size=16, n_layer=2, n_head=4, n_embd=64),
    # the base model of Vaswani et al., 2017
    "seq2seq-base": Seq2SeqConfig(
        vocab_size=37000, block_size=256, n_layer=6, n_head=8, n_embd=512, dropout=0.1, label_smoothing=0.1
    ),
    # scikit-learn's 8 x 8 digits
    "vit-digits": ViTConfig(
        image_size=8, patch=4, channels=1, n_classes=10, n_layer=2, n_head=4, n_embd=64, dropout=0.1
    ),
    # DeiT's smallest (Touvron et al., 2020, arXiv:2012.12877)
    "vit-tiny": ViTConfig(image_size=224, patch=16, n_classes=1000, n_layer=12, n_head=3, n_embd=192),
    # two encoders for pictures of 32 x 32 pixels and sentences
    "clip-shapes": ClipConfig(
        vocab_size=24, image_size=32, block_size=10, n_layer=3, n_head=4, n_embd=64, text_layer=1, text_embd=64
    ),
    # sentences about pictures of 32 x 32 pixels
    "captioner-shapes": CaptionerConfig(vocab_size=24, image_size=32, block_size=14, n_head=4, n_embd=64),
    # Karpathy's micrograd on two moons
    "mlp-moons": MLPConfig((2, 16, 16, 1), task="regression"),
    "mlp-digits": MLPConfig((64, 128, 10)),
}
MODELS: list[type[Any]] = [GPT, Llama, Encoder, Bert, MaskedEncoder, Seq2Seq, ViT, Clip, Captioner, MLP]
"""The models that a configuration describes; each names its ``config_type``. Append your own."""


def build_model(preset: str | CheckedConfig, *, seed: int = 0, dtype: Any = np.float32) -> Module:
    """Build the model of a preset or of a configuration, with fresh weights.

    To change a setting: ``build_model(dataclasses.replace(PRESETS["gpt-char"], dropout=0.1))``.

    Args:
        preset: a key of ``PRESETS``, or the configuration of a model in ``MODELS``.
        seed: of the initial weights.
        dtype: of the weights.

    Raises:
        ConfigError: if there is no such preset (the message names the nearest one), or no model with such a
            configuration.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        near = nearest(preset, PRESETS)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(PRESETS)}"
        raise ConfigError(f"there is no preset {preset!r}; {hint}")
    config = PRESETS[preset] if isinstance(preset, str) else preset
    for model in MODELS:
        if model.config_type is type(config):
            build: Any = model
            return build(config, seed=seed, dtype=dtype)  # type: ignore[no-any-return]
    raise ConfigError(
        f"no model has a configuration of type {type(config).__name__}: append its class to "
        "minitrain.models.presets.MODELS"
    )
