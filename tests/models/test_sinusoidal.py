"""A decoder with sinusoidal positions learns: its tokens are not lost among the waves, and its first loss is ln V."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.llama import Llama, LlamaConfig
from minitrain.optim import AdamW, clip_by_global_norm

MODELS = [(GPT, GPTConfig), (Llama, LlamaConfig)]


def model_of(kind: Any, config: Any, positions: str, *, tied: bool = True, width: int = 128, classes: int = 16) -> Any:
    shape = {"block_size": 32, "n_layer": 2, "n_head": 4, "n_embd": width, "positions": positions, "tie_weights": tied}
    return kind(config(vocab_size=classes, **shape), seed=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("kind", "config"), MODELS)
@pytest.mark.parametrize("width", [32, 128])
def test_tokens_are_not_lost_among_the_waves(kind, config, tied, width):
    model = model_of(kind, config, "sinusoidal", tied=tied, width=width, classes=500)
    waves = model.pos_emb.forward(np.zeros((1, 32, width), np.float32))[0]
    assert model.tok_emb.weight.data.std() == pytest.approx(0.02 * math.sqrt(width), rel=0.05)
    assert model.tok_emb.weight.data.std() > 0.15 * waves.std()
    assert (model.head.weight is model.tok_emb.weight) == tied


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("kind", "config"), MODELS)
def test_the_first_loss_is_that_of_guessing(kind, config, tied):
    tokens = np.random.default_rng(0).integers(0, 500, (8, 33))
    model = model_of(kind, config, "sinusoidal", tied=tied, classes=500)
    assert model.loss((tokens[:, :-1], tokens[:, 1:]))[0].mean == pytest.approx(math.log(500), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_gpt_learns_to_copy_one_of_the_last_four_tokens(positions):
    rng = np.random.default_rng(1)

    def texts(count: int) -> Any:
        made = rng.integers(0, 16, (count, 33))
        for t in range(4, 33):
            copied = made[np.arange(count), t - rng.integers(1, 5, count)]
            made[:, t] = np.where(rng.random(count) < 0.8, copied, made[:, t])
        return made[:, :-1], made[:, 1:]

    model = model_of(GPT, GPTConfig, positions)
    optimizer = AdamW(model, lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        loss, cache = model.loss(texts(32))
        model.loss_backward(cache)
        optimizer.step(clip_by_global_norm(model, 1.0, count=loss.count).scale)
    assert model.loss(texts(128))[0].mean < 1.75  # 2.09 with tokens as small as beside learned positions
