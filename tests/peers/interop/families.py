"""Random models of transformers, large enough to matter: 12 layers, a width of 256."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")

SIZES = {
    "vocab_size": 500,
    "hidden_size": 256,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 64,
}
GROUPED = SIZES | {"num_key_value_heads": 2, "intermediate_size": 512}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"vocab_size": 500, "n_embd": 256, "n_layer": 12, "n_head": 8, "n_positions": 64}),
    "gpt2, exact, untied": (
        "GPT2",
        {"vocab_size": 500, "n_embd": 256, "n_layer": 12, "n_head": 4, "n_positions": 64, "activation_function": "gelu"}
        | {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-3},
    ),
    "llama": ("Llama", GROUPED),
    "llama, tied, linear": ("Llama", GROUPED | {"tie_word_embeddings": True, "rope_parameters": LINEAR}),
    "llama 3": ("Llama", GROUPED | {"rope_parameters": LLAMA3, "rms_norm_eps": 1e-5}),
    "llama, head width": ("Llama", GROUPED | {"head_dim": 48}),
    "mistral": ("Mistral", GROUPED | {"sliding_window": 7}),
    "qwen2": ("Qwen2", GROUPED | {"tie_word_embeddings": True}),
    "qwen2, window": ("Qwen2", GROUPED | {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0}),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 64}),
    "bert": ("Bert", SIZES | {"intermediate_size": 512}),
}
TOKENS = np.random.default_rng(0).integers(0, 500, (3, 40))


def theirs(name: str, **more: Any) -> Any:
    """A random model, with ``more`` settings; no weight is at its initial zero or one."""
    family, settings = FAMILIES[name]
    config = getattr(transformers, f"{family}Config")(**settings | dropouts(family) | more)
    kind = "BertModel" if family == "Bert" else f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    torch.manual_seed(0)
    model = getattr(transformers, kind)._from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * (0.05 if parameter.ndim > 1 else 0.2))
    return model


def dropouts(family: str) -> dict[str, float]:
    names = {"GPT2": ("attn_pdrop", "embd_pdrop", "resid_pdrop")}
    names["Bert"] = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    return dict.fromkeys(names.get(family, ()), 0.0)


def loaded(name: str, folder: Path) -> Any:
    """transformers' model in a folder."""
    family = FAMILIES[name][0]
    kind = transformers.AutoModel if family == "Bert" else transformers.AutoModelForCausalLM
    return kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def logits(model: Any, tokens: Any) -> Any:
    """What a model of transformers computes: logits, or BERT's pooled vectors."""
    out = model(torch.from_numpy(tokens))
    return out.pooler_output if hasattr(out, "pooler_output") else out.logits


def assert_near(ours: Any, expected: Any, tolerance: float, what: str = "") -> None:
    """Equal up to ``tolerance`` times the largest element."""
    expected = np.asarray(expected)
    gap, largest = abs(ours - expected).max(), abs(expected).max()
    assert gap <= tolerance * largest, f"{what} differs by {gap:.2e} of {largest:.2e}"
