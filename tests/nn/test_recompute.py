"""Activation checkpointing: the same gradients, bit for bit, from less memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from minitrain.backend import use_kernels
from minitrain.errors import ConfigError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import Linear, checkpoint_activations
from tests.helpers.model_checks import KEY, gradients_of, stir
from tests.helpers.model_zoo import TRANSFORMERS
from tests.helpers.small_trainers import make


@pytest.mark.parametrize("kernels", ["reference", "auto"])
@pytest.mark.parametrize("kind", TRANSFORMERS.values(), ids=TRANSFORMERS)
def test_the_gradients_are_the_same_bytes_dropout_included(kind: Any, kernels: str) -> None:
    model, batches = stir(kind.build(dropout=0.3)), [kind.batch(3), kind.batch(2, seed=1)]
    with use_kernels(kernels):
        plain = gradients_of(model, batches, key=KEY)
        assert checkpoint_activations(model) == sum(hasattr(module, "norm2") for module in model.modules())
        recomputed = gradients_of(model, batches, key=KEY)
        checkpoint_activations(model, on=False)
        again = gradients_of(model, batches, key=KEY)
    for path, gradient in plain.items():
        np.testing.assert_array_equal(recomputed[path], gradient, err_msg=path)
        np.testing.assert_array_equal(again[path], gradient, err_msg=path)


def peak(model: Any, batch: Any) -> int:
    """Most bytes in use during a forward and a backward, above those in use before."""
    model.zero_grad()
    tracemalloc.start()
    _, cache = model.loss(batch)
    model.loss_backward(cache)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_a_deep_model_needs_much_less_memory() -> None:
    kind = TRANSFORMERS["gpt"]
    model = GPT(GPTConfig(vocab_size=11, block_size=64, n_layer=12, n_head=2, n_embd=32))
    gradients_of(model, [kind.batch(2)])  # the gradients' memory is there
    rng = np.random.default_rng(0)
    batch = type(kind.batch(2))(*(rng.integers(0, 11, (8, 64)) for _ in range(2)))
    with use_kernels("reference"):  # whose arrays tracemalloc sees
        plain = peak(model, batch)
        checkpoint_activations(model)
        assert peak(model, batch) < 0.35 * plain


def test_the_trainer_turns_it_on_and_ends_in_the_same_weights() -> None:
    plain, saving = make(None), make(None, activation_checkpointing=True)
    assert all(block.recompute for block in saving.model.blocks)
    plain.train()
    saving.train()
    for path, array in plain.model.state_dict().items():
        np.testing.assert_array_equal(saving.model.state_dict()[path], array)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="Linear has no transformer blocks"):
        checkpoint_activations(Linear(2, 2, np.random.default_rng(0)))
