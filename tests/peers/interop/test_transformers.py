"""Folders of transformers in both directions: logits, gradients, bytes, and greedy tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minitrain.generation import generate
from minitrain.interop import load_huggingface, save_huggingface
from minitrain.interop.huggingface import _rows, family_of
from minitrain.interop.table import arrays_of, decoder_sizes
from minitrain.interop.tensor_files import open_tensors
from minitrain.models import Bert, GPTConfig, LlamaConfig, build_model
from tests.helpers.model_checks import stir

from .families import FAMILIES, TOKENS, assert_near, loaded, logits, theirs

pytestmark = pytest.mark.peers
families = pytest.mark.parametrize("name", FAMILIES)
LOGITS, GRADIENTS = 1e-5, 3e-4


class Gradients:
    """A model's gradients in place of its weights, to be written as a file's arrays."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def state_dict(self) -> dict[str, Any]:
        return {path: parameter.grad for path, parameter in self.model.named_parameters()}

    def named_modules(self) -> Any:
        """Those of the model."""
        return self.model.named_modules()


def arrays(folder: Path) -> dict[str, Any]:
    return {name: file.read(name) for name, file in open_tensors(folder).items()}


@families
def test_their_models_compute_the_same_here(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    ours = load_huggingface(tmp_path)
    with torch.no_grad():
        assert_near(ours.forward(TOKENS)[0], logits(model, TOKENS), LOGITS, "logits")


@families
def test_gradients_are_equal(name, tmp_path):
    model = theirs(name)
    model.save_pretrained(tmp_path)
    ours = load_huggingface(tmp_path)
    out, cache = ours.forward(TOKENS)
    dout = np.random.default_rng(1).standard_normal(out.shape).astype(np.float32)
    ours.zero_grad()
    ours.backward(dout, cache)
    logits(model, TOKENS).backward(torch.from_numpy(dout))
    rows = _rows(family_of(ours.config), ours.config)
    found = dict(arrays_of(Gradients(ours), rows, ours.config.n_layer, decoder_sizes(ours.config)))
    expected = {path: parameter.grad for path, parameter in model.named_parameters() if parameter.grad is not None}
    prefix = "bert." if isinstance(ours, Bert) else ""
    assert {key.removeprefix(prefix) for key in found} == expected.keys()
    largest = max(float(abs(gradient).max()) for gradient in expected.values())
    for key, gradient in found.items():
        other = expected[key.removeprefix(prefix)].numpy()
        if abs(other).max() < 1e-6 * largest:  # a bias of all keys moves no softmax: its gradient is rounding alone
            assert abs(gradient).max() < 1e-5 * largest, key
        else:
            assert_near(gradient, other, GRADIENTS, key)


@families
@pytest.mark.parametrize(("dtype", "shards"), [("float32", "10GB"), ("bfloat16", "3MB"), ("float16", "3MB")])
def test_their_files_come_back_byte_by_byte(name, dtype, shards, tmp_path):
    theirs(name).to(getattr(torch, dtype)).save_pretrained(tmp_path / "theirs", max_shard_size=shards)
    assert (len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1) == (shards == "3MB")
    save_huggingface(load_huggingface(tmp_path / "theirs"), tmp_path / "ours", dtype=dtype)
    first, second = arrays(tmp_path / "theirs"), arrays(tmp_path / "ours")
    prefix = "bert." if "bert" in name else ""
    assert {prefix + key for key in first} == second.keys()
    for key, array in first.items():
        found = second[prefix + key]
        assert found.dtype == array.dtype
        assert found.tobytes() == array.tobytes(), key


@families
def test_our_folders_compute_the_same_there(name, tmp_path):
    theirs(name).save_pretrained(tmp_path / "theirs")
    ours = stir(load_huggingface(tmp_path / "theirs"), 7)
    for parameter in ours.parameters():
        if parameter.data.ndim > 1:
            parameter.data *= 0.1
    for dtype in ("float32", "bfloat16"):
        save_huggingface(ours, tmp_path / dtype, dtype=dtype, largest=4_000_000)
        same = load_huggingface(tmp_path / dtype)
        with torch.no_grad():
            assert_near(same.forward(TOKENS)[0], logits(loaded(name, tmp_path / dtype), TOKENS), LOGITS, dtype)


@families
def test_settings_are_those_that_they_write(name, tmp_path):
    """What transformers makes of our settings, it writes again; both have the same configuration here."""
    theirs(name).save_pretrained(tmp_path / "theirs")
    ours = load_huggingface(tmp_path / "theirs")
    save_huggingface(ours, tmp_path / "ours")
    loaded(name, tmp_path / "ours").save_pretrained(tmp_path / "again")
    again = load_huggingface(tmp_path / "again", **({"pool": "first"} if "bert" in name else {}))
    assert again.config == ours.config
    kept = json.loads((tmp_path / "again" / "config.json").read_text())
    for key, value in json.loads((tmp_path / "theirs" / "config.json").read_text()).items():
        if key not in ("transformers_version", "architectures", "num_key_value_heads"):
            assert kept[key] == value, key


@pytest.mark.parametrize("name", ["gpt2", "llama 3", "mistral", "qwen2", "qwen3"])
def test_greedy_tokens_are_the_same(name, tmp_path):
    theirs(name).save_pretrained(tmp_path / "theirs")
    ours = load_huggingface(tmp_path / "theirs")
    save_huggingface(ours, tmp_path / "ours")
    prompt = TOKENS[:1, :8].astype(np.int32)
    expected = loaded(name, tmp_path / "ours").generate(
        torch.from_numpy(prompt).long(), do_sample=False, max_new_tokens=24, eos_token_id=None, pad_token_id=0
    )
    found = generate(ours, prompt, 24, temperature=0.0)
    np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize(
    "config",
    [
        GPTConfig(500, 64, n_layer=12, n_embd=256, n_head=8),
        GPTConfig(500, 64, n_layer=12, n_embd=256, n_head=8, bias=True, gelu="tanh", tie_weights=False),
        LlamaConfig(500, 64, n_layer=12, n_embd=256, n_head=8),
        LlamaConfig(500, 64, n_layer=12, n_embd=256, n_head=8, n_kv_head=1, window=5, tie_weights=True),
        LlamaConfig(500, 64, n_layer=12, n_embd=256, n_head=8, qk_norm=True, window=5, eps=1e-3),
    ],
    ids=["gpt", "gpt, biases", "llama", "llama, window", "llama, norms"],
)
def test_models_trained_here_run_there(config, tmp_path):
    ours = build_model(config, seed=1)
    rng = np.random.default_rng(2)
    for parameter in ours.parameters():
        parameter.data += (0.05 * rng.standard_normal(parameter.data.shape)).astype(np.float32)
    save_huggingface(ours, tmp_path)
    with torch.no_grad():
        assert_near(ours.forward(TOKENS)[0], logits(loaded("llama", tmp_path), TOKENS), LOGITS, "logits")


def test_a_padded_batch_of_sentences(tmp_path):
    """Mean pooling without padding, token types, and vectors of length one."""
    model = theirs("bert")
    model.save_pretrained(tmp_path)
    ours = load_huggingface(tmp_path, pool="mean", pooler="unused", normalize=True)
    lengths, types = np.array([40, 17, 1]), np.random.default_rng(3).integers(0, 2, TOKENS.shape)
    mask = (np.arange(40) < lengths[:, None]).astype(np.int64)
    with torch.no_grad():
        hidden = model(torch.from_numpy(TOKENS), torch.from_numpy(mask), torch.from_numpy(types)).last_hidden_state
    pooled = (hidden.numpy() * mask[:, :, None]).sum(1) / lengths[:, None]
    expected = pooled / np.linalg.norm(pooled, axis=-1, keepdims=True)
    assert_near(ours.forward(TOKENS, lengths=lengths, token_types=types)[0], expected, LOGITS)
