"""A GPT learns: it begins at the loss of guessing and can memorise a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minitrain.data import Batch
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW
from minitrain.training import train_step


def random_batch(vocab_size: int, shape: tuple[int, int], seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(*rng.integers(0, vocab_size, (2, *shape), dtype=np.int32))


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("vocab_size", [2, 65, 1000])
def test_the_first_loss_is_that_of_guessing(vocab_size: int, tie_weights: bool) -> None:
    config = GPTConfig(vocab_size, block_size=32, n_layer=4, n_head=4, n_embd=64, tie_weights=tie_weights)
    loss, _ = GPT(config, seed=1).loss(random_batch(vocab_size, (16, 32)))
    # Logits have a standard deviation of 0.02 * sqrt(64) = 0.16, which costs half its square, 0.013.
    assert loss.mean == pytest.approx(math.log(vocab_size), abs=0.03)


@pytest.mark.parametrize("packed", [True, False])
def test_a_tiny_gpt_memorises_one_batch(packed: bool) -> None:
    """Random targets: only by heart can they be known."""
    model = GPT(GPTConfig(vocab_size=20, block_size=8, n_layer=2, n_head=2, n_embd=32), seed=1)
    if packed:
        pack(model)
    optimizer = AdamW(model, weight_decay=0.0)
    batch = random_batch(20, (4, 8))
    updates = [
        train_step(model, optimizer, [(0, batch)], lr=1e-2 * min(1.0, (150 - step) / 75), max_grad_norm=1.0)
        for step in range(150)
    ]
    assert updates[0].loss / updates[0].tokens == pytest.approx(math.log(20), abs=0.1)
    assert updates[-1].loss / updates[-1].tokens < 0.05
    logits, _ = model.forward(batch.inputs)
    np.testing.assert_array_equal(logits.argmax(-1), batch.targets)
