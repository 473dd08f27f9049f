"""Small models of every family that is published, with weights of ordinary size."""

from __future__ import annotations

from typing import Any

from minitrain.models import Bert, BertConfig, GPTConfig, LlamaConfig, build_model
from minitrain.nn import Module
from tests.helpers.model_checks import stir

SHAPE = {"vocab_size": 37, "block_size": 12, "n_layer": 2, "n_head": 4, "n_embd": 32}
GROUPED = SHAPE | {"n_kv_head": 2, "n_hidden": 64, "rope_base": 5000.0}
CONFIGS: dict[str, Any] = {
    "gpt2": GPTConfig(**SHAPE, bias=True, gelu="tanh"),
    "gpt2, untied": GPTConfig(**SHAPE, bias=True, tie_weights=False, eps=1e-4),
    "llama": LlamaConfig(**GROUPED),
    "llama, tied": LlamaConfig(**GROUPED, tie_weights=True, rope_scaling=4.0, eps=1e-6),
    "llama 3": LlamaConfig(**GROUPED, rope_kind="llama3", rope_scaling=8.0, rope_original=64),
    "mistral": LlamaConfig(**GROUPED, window=5),
    "qwen2": LlamaConfig(**GROUPED, qkv_bias=True, tie_weights=True),
    "qwen3": LlamaConfig(**GROUPED, qk_norm=True, head_width=16),
    "bert": BertConfig(**SHAPE, n_hidden=64),
    "bert, pooler": BertConfig(**SHAPE, n_hidden=64, pool="first", pooler="used", normalize=False),
    "bert, unused pooler": BertConfig(**SHAPE, n_hidden=64, pooler="unused", gelu="tanh"),
}
IN_GGUF = [name for name in CONFIGS if name not in ("mistral", "bert, pooler", "bert, unused pooler")]


def published(name: str, seed: int = 3) -> Any:
    """A model of that family."""
    model: Module = build_model(CONFIGS[name])
    return stir(model, seed)


def output(model: Any, tokens: Any) -> Any:
    """What a model computes: logits, or vectors of sentences."""
    return model.forward(tokens)[0]


def is_encoder(model: Any) -> bool:
    return isinstance(model, Bert)
