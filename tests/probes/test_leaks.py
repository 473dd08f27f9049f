"""Leaks: a model that sees the future is told from one that does not, and shared samples are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitrain.errors import ConfigError, DataError, ShapeError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.llama import Llama, LlamaConfig
from minitrain.models.mlp import MLP, MLPConfig
from minitrain.probes import future_leak, shared_samples

TOKENS = np.random.default_rng(0).integers(0, 5, (2, 8))
SIZES = {"vocab_size": 5, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 8}


class Looks:
    """Its output at a position is the token ``ahead`` places later, or earlier."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead

    def forward(self, tokens):
        return np.roll(tokens, -self.ahead, axis=1)[..., None].astype(float), None


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "alibi"])
def test_causal_models_do_not_see_the_future_and_without_their_mask_they_do(positions):
    for model in (GPT(GPTConfig(positions=positions, **SIZES)), Llama(LlamaConfig(positions=positions, **SIZES))):
        assert future_leak(model, TOKENS) == 0
        model.blocks[1].attention.causal = False
        assert future_leak(model, TOKENS) > 1e-6


@pytest.mark.parametrize("ahead", range(1, 8))
def test_a_leak_of_any_distance_is_found(ahead):
    assert future_leak(Looks(ahead), TOKENS, classes=5) > 0


def test_what_cannot_be_tried_is_refused():
    with pytest.raises(ShapeError, match=r"expected integers \(B, T\), T at least 2"):
        future_leak(Looks(0), TOKENS[:, :1], classes=5)
    with pytest.raises(ConfigError, match="give classes="):
        future_leak(Looks(0), TOKENS)
    with pytest.raises(ConfigError, match="give classes="):
        future_leak(MLP(MLPConfig((8, 2))), TOKENS)


@given(st.lists(st.integers(0, 6), max_size=9), st.lists(st.integers(0, 6), max_size=9))
def test_shared_samples_are_those_that_are_equal(train, held_out):
    samples = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32)
    found = shared_samples(samples[np.array(train, int)], samples[np.array(held_out, int)])
    assert found.tolist() == [i for i, number in enumerate(held_out) if number in train]


def test_samples_that_are_stored_differently_cannot_be_compared():
    with pytest.raises(DataError, match="stored alike"):
        shared_samples(np.zeros((3, 2)), np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match="stored alike"):
        shared_samples(np.zeros((3, 2)), np.zeros((3, 4)))
