"""The attention that the page shows is that of the model."""

from __future__ import annotations

import numpy as np
import pytest

from minitrain import use_kernels
from minitrain.errors import ConfigError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.llama import Llama, LlamaConfig
from minitrain.models.mlp import MLP, MLPConfig
from minitrain.server.attention import attention_weights, heads_of
from tests.helpers.serving.servers import Running

SHAPE = {"vocab_size": 40, "block_size": 12, "n_layer": 3, "n_head": 4, "n_embd": 16}
MODELS = {
    "gpt": GPT(GPTConfig(**SHAPE), seed=1),
    "alibi": GPT(GPTConfig(**SHAPE, positions="alibi"), seed=2),
    "llama": Llama(LlamaConfig(**SHAPE, n_kv_head=2, window=4, qk_norm=True), seed=3),
}
for each in MODELS.values():
    for parameter in each.parameters():
        parameter.data *= 3  # so that heads prefer some places


@pytest.mark.parametrize("mode", ["reference", pytest.param("auto", marks=pytest.mark.slow)])  # compiles kernels
@pytest.mark.parametrize("name", MODELS)
def test_the_weights_are_those_that_mix_the_values(name: str, mode: str) -> None:
    with use_kernels(mode):
        check_weights(name)


def check_weights(name: str) -> None:
    model = MODELS[name]
    tokens = np.random.default_rng(0).integers(0, 40, 12).astype(np.int32)
    _, cache = model.forward_hidden(tokens[None])
    assert heads_of(model) == (3, 4)
    for layer in range(3):
        kept = cache.blocks[layer].attention.attention  # its out (1, T, H, D) is the weights times the values
        for head in range(4):
            weights = attention_weights(model, tokens, layer, head)
            values = kept.v[0, :, head * kept.v.shape[2] // 4]  # (T, D)
            np.testing.assert_allclose(weights @ values, kept.out[0, :, head], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
            assert np.all(np.triu(weights, 1) == 0)
            if name == "llama":
                assert np.all(np.tril(weights, -4) == 0)


def test_heads_that_there_are_not() -> None:
    for layer, head in ((3, 0), (0, 4), (-1, 0), (0, -1)):
        with pytest.raises(ConfigError, match="3 layers of 4 heads"):
            attention_weights(MODELS["gpt"], np.zeros(3, np.int32), layer, head)
    assert heads_of(MLP(MLPConfig((4, 4, 2)))) == (0, 0)


def test_of_a_long_text_the_end_is_shown(running: Running) -> None:
    tokens = [7 * n % 256 for n in range(50)]  # the context has 32, and starts again with 16
    status, answer = running.ask("POST", "/api/attention", {"tokens": tokens, "layer": 1, "head": 0})
    assert status == 200
    rows, start = answer["weights"], answer["start"]
    model = running.server.catalogue.first.model  # in the fixture, the readable code computes
    expected = attention_weights(model, np.array(tokens[start:], np.int32), 1, 0)
    assert start + len(rows) == 50
    assert 1 <= len(rows) <= 32
    for t, row in enumerate(rows):
        np.testing.assert_allclose(row, expected[t, : t + 1], atol=6e-4)
