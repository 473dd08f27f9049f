"""Small models of every kind and batches for them, for tests that hold for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minitrain.models import (
    GPT,
    MLP,
    Captioner,
    CaptionerConfig,
    Encoder,
    EncoderConfig,
    GPTConfig,
    Llama,
    LlamaConfig,
    MaskedEncoder,
    MaskedEncoderConfig,
    MLPConfig,
    Seq2Seq,
    Seq2SeqConfig,
    ViT,
    ViTConfig,
)

V, T = 11, 6
TRANSFORMER = {"n_layer": 2, "n_head": 2, "n_embd": 8}


class Tokens(NamedTuple):
    """A batch of a language model."""

    inputs: Any  # (B, T)
    targets: Any  # (B, T)


class Labelled(NamedTuple):
    """A batch of a classifier."""

    inputs: Any  # (B, ...)
    targets: Any  # (B,)
    lengths: Any = None  # (B,)


class Pairs(NamedTuple):
    """A batch of an encoder-decoder."""

    source: Any  # (B, S)
    target: Any  # (B, T + 1)


class Captioned(NamedTuple):
    """A batch of a model that writes about images."""

    images: Any  # (B, C, H, W)
    texts: Any  # (B, T + 1)


def rows(batch: Any, start: int, stop: int) -> Any:
    """The samples from ``start`` to ``stop`` of a batch."""
    return type(batch)(*(None if field is None else field[start:stop] for field in batch))


def tokens(rng: np.random.Generator, B: int, config: Any) -> Tokens:
    inputs, targets = rng.integers(0, config.vocab_size, (2, B, T - 1))
    inputs[:, 0] = np.arange(B) % config.vocab_size  # rows that begin alike with other targets cannot be learned
    targets[0, :2] = -100
    return Tokens(inputs, targets)


def texts(rng: np.random.Generator, B: int, config: Any) -> Labelled:
    lengths = rng.integers(1, T + 1, B)
    lengths[0] = T
    return Labelled(rng.integers(0, config.vocab_size, (B, T)), rng.integers(0, config.n_classes, B), lengths)


def hidden(rng: np.random.Generator, B: int, config: Any) -> Labelled:
    """Padded texts; the first token, which tells the rows apart, and the padding are not to be found."""
    lengths = rng.integers(2, T + 1, B)
    lengths[0] = T
    inputs, targets = rng.integers(0, config.vocab_size, (2, B, T))
    inputs[:, 0] = np.arange(B) % config.vocab_size
    places = np.arange(T)
    return Labelled(inputs, np.where((places > 0) & (places < lengths[:, None]), targets, -100), lengths)


def images(rng: np.random.Generator, B: int, config: Any) -> Labelled:
    shape = (B, config.channels, config.image_size, config.image_size)
    return Labelled(rng.standard_normal(shape), rng.integers(0, config.n_classes, B))


def vectors(rng: np.random.Generator, B: int, config: Any) -> Labelled:
    first, *_, last = config.widths
    return Labelled(rng.standard_normal((B, first)), rng.integers(0, last, B))


def pairs(rng: np.random.Generator, B: int, config: Any) -> Pairs:
    """Padded at the end with 0; the target is longer than the source."""

    def padded(length: int, vocab_size: int) -> Any:
        ids = rng.integers(1, vocab_size, (B, length))
        lengths = rng.integers(2, length + 1, B)
        lengths[0] = length
        return np.where(np.arange(length) < lengths[:, None], ids, 0)

    return Pairs(padded(T - 1, config.vocab_size), padded(T + 1, config.n_targets))


def captions(rng: np.random.Generator, B: int, config: Any) -> Captioned:
    """Padded at the end with 0."""
    shape = (B, config.channels, config.image_size, config.image_size)
    ids = rng.integers(1, config.vocab_size, (B, T + 1))
    lengths = rng.integers(2, T + 2, B)
    lengths[0] = T + 1
    return Captioned(rng.standard_normal(shape), np.where(np.arange(T + 1) < lengths[:, None], ids, 0))


@dataclass(frozen=True)
class Kind:
    """A kind of model: how to build a small one, and its batches."""

    model: Callable[..., Any]
    config: Any
    shape: dict[str, Any]
    draw: Callable[[np.random.Generator, int, Any], Any]

    def configure(self, **changes: Any) -> Any:
        """The configuration with those of the ``changes`` that this kind has a field for."""
        fields = {field.name for field in dataclasses.fields(self.config)}
        return self.config(**(self.shape | {name: value for name, value in changes.items() if name in fields}))

    def build(self, *, seed: int = 0, dtype: Any = np.float32, **changes: Any) -> Any:
        return self.model(self.configure(**changes), seed=seed, dtype=dtype)

    def batch(self, B: int = 3, *, seed: int = 0, dtype: Any = np.float32, **changes: Any) -> Any:
        batch = self.draw(np.random.default_rng(seed), B, self.configure(**changes))
        return type(batch)(*(x.astype(dtype) if x is not None and x.dtype.kind == "f" else x for x in batch))


LANGUAGE = {"vocab_size": V, "block_size": T} | TRANSFORMER
IMAGE = {"image_size": 6, "patch": 3, "channels": 2, "n_classes": 5} | TRANSFORMER
KINDS = {
    "gpt": Kind(GPT, GPTConfig, LANGUAGE | {"bias": True}, tokens),
    "llama": Kind(Llama, LlamaConfig, LANGUAGE, tokens),
    "llama, all options": Kind(
        Llama,
        LlamaConfig,
        LANGUAGE | {"n_kv_head": 1, "qk_norm": True, "window": 3, "tie_weights": True, "n_hidden": 5},
        tokens,
    ),
    "encoder": Kind(Encoder, EncoderConfig, LANGUAGE | {"n_classes": 5}, texts),
    "encoder, first": Kind(Encoder, EncoderConfig, LANGUAGE | {"n_classes": 5, "pool": "first", "bias": False}, texts),
    "masked": Kind(MaskedEncoder, MaskedEncoderConfig, LANGUAGE, hidden),
    "masked, no bias": Kind(MaskedEncoder, MaskedEncoderConfig, LANGUAGE | {"bias": False, "gelu": "tanh"}, hidden),
    "seq2seq": Kind(Seq2Seq, Seq2SeqConfig, LANGUAGE, pairs),
    "seq2seq, separate": Kind(
        Seq2Seq,
        Seq2SeqConfig,
        LANGUAGE | {"target_vocab_size": 12, "share_embeddings": False, "tie_weights": False, "label_smoothing": 0.1},
        pairs,
    ),
    "seq2seq, pointer": Kind(Seq2Seq, Seq2SeqConfig, LANGUAGE | {"pointer": True, "label_smoothing": 0.1}, pairs),
    "seq2seq, rotary": Kind(Seq2Seq, Seq2SeqConfig, LANGUAGE | {"positions": "rotary"}, pairs),
    "vit": Kind(ViT, ViTConfig, IMAGE, images),
    "vit, mean": Kind(ViT, ViTConfig, IMAGE | {"pool": "mean", "bias": False}, images),
    "vit, concat": Kind(ViT, ViTConfig, IMAGE | {"pool": "concat"}, images),
    "vit, stem": Kind(ViT, ViTConfig, IMAGE | {"patch": 2, "stem": "conv"}, images),
    "vit, deep stem": Kind(ViT, ViTConfig, IMAGE | {"patch": 2, "stem": "conv", "stem_depth": 1}, images),
    "vit, convolutions": Kind(
        ViT,
        ViTConfig,
        IMAGE | {"patch": 2, "stem": "conv", "stem_depth": 1, "pool": "concat", "n_layer": 0},
        images,
    ),
    "captioner": Kind(
        Captioner,
        CaptionerConfig,
        LANGUAGE | {"image_size": 6, "patch": 3, "channels": 2, "decoder_layer": 2, "tie_weights": False},
        captions,
    ),
    "captioner, tied": Kind(
        Captioner,
        CaptionerConfig,
        LANGUAGE
        | {"image_size": 8, "patch": 4, "channels": 1, "decoder_layer": 1, "stem": "conv", "label_smoothing": 0.1},
        captions,
    ),
    "mlp": Kind(MLP, MLPConfig, {"widths": (3, 8, 5)}, vectors),
}
NOT_GPT, NOT_LLAMA = ("sinusoidal", "rotary", "alibi"), ("learned", "sinusoidal", "alibi")
TRANSFORMERS = {name: kind for name, kind in KINDS.items() if name not in ("mlp", "vit, convolutions")}
RELATIVES = {
    **{f"gpt, {positions}": Kind(GPT, GPTConfig, LANGUAGE | {"positions": positions}, tokens) for positions in NOT_GPT},
    **{
        f"llama, {positions}": Kind(Llama, LlamaConfig, LANGUAGE | {"positions": positions}, tokens)
        for positions in NOT_LLAMA
    },
    "mistral": Kind(Llama, LlamaConfig, LANGUAGE | {"n_head": 4, "n_kv_head": 2, "window": 3}, tokens),
    "qwen2": Kind(Llama, LlamaConfig, LANGUAGE | {"qkv_bias": True, "tie_weights": True, "n_kv_head": 1}, tokens),
    "qwen3": Kind(Llama, LlamaConfig, LANGUAGE | {"qk_norm": True, "head_width": 6, "eps": 1e-2}, tokens),
    "llama 3": Kind(
        Llama, LlamaConfig, LANGUAGE | {"rope_kind": "llama3", "rope_scaling": 4.0, "rope_original": 30}, tokens
    ),
    "gpt, eps": Kind(GPT, GPTConfig, LANGUAGE | {"bias": True, "eps": 1e-2}, tokens),
}
"""Other settings of GPT and Llama: positions, and the families of published models."""
