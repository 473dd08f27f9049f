"""What is right by itself is right together: the same bytes for 1, 2 and 4 ranks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from minitrain.distributed import Group
from minitrain.errors import MinitrainError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.models.llama import Llama, LlamaConfig
from minitrain.nn import add_lora
from minitrain.optim import SGD, Lion, buckets
from minitrain.training import EMA, Callback, NaNGuard
from tests.distributed.small_trainings import history, on_ranks, small_trainer

SHAPE = {"vocab_size": 11, "block_size": 8, "n_layer": 3, "n_head": 2, "n_embd": 8, "dropout": 0.1}


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small model has several."""
    monkeypatch.setattr(buckets, "SMALLEST", 300)


def result(group: Group, model: Any, *callbacks: Callback, **options: Any) -> Any:
    trainer = small_trainer(group, None, *callbacks, model=model, **{"max_steps": 4, **options})
    trainer.train()
    weights = b"".join(array.tobytes() for array in trainer.model.state_dict().values()).hex()
    return weights, history(trainer)


@pytest.mark.parametrize("zero", [0, 2])
def test_low_rank_matrices_beside_frozen_ones_that_are_recomputed(zero):
    def work(group: Group, **options: Any) -> Any:
        model = GPT(GPTConfig(**SHAPE), seed=1)
        add_lora(model, rank=2, alpha=4)
        return result(group, model, EMA(0.9), NaNGuard("skip"), activation_checkpointing=True, **options)

    alone = on_ranks(1, work)
    assert on_ranks(2, partial(work, zero=zero)) == on_ranks(4, partial(work, zero=zero)) == alone


def test_a_scaled_loss_whose_gradients_travel_with_16_bits():
    """The scale is a power of two: it changes no bit of a rounded number."""

    def work(group: Group, **options: Any) -> Any:
        model = Llama(LlamaConfig(**SHAPE), seed=1)
        return result(group, model, precision="float16", reduce_dtype="bfloat16", **options)

    assert on_ranks(2, work) == on_ranks(4, partial(work, zero=1)) == on_ranks(1, work)


class Freeze(Callback):
    """Freezes a block before the third step."""

    reads_gradients = False

    def __init__(self, model: Any) -> None:
        self.model = model

    def on_step_begin(self, view: Any) -> None:
        for parameter in self.model.blocks[1].parameters():
            parameter.trainable = view.step < 2


def test_a_block_that_is_frozen_on_the_way():
    """All ranks find new buckets at the same time; where they share moments it is refused."""

    def work(group: Group, **options: Any) -> Any:
        model = GPT(GPTConfig(**SHAPE), seed=1)
        return result(group, model, Freeze(model), **options)

    assert on_ranks(2, work) == on_ranks(4, work) == on_ranks(1, work)
    with pytest.raises(MinitrainError, match="was frozen while ranks share the moments"):
        on_ranks(2, partial(work, zero=2))


@pytest.mark.parametrize("rule", [Lion, SGD])
def test_other_rules_share_too(rule):
    def work(group: Group, **options: Any) -> Any:
        return result(group, GPT(GPTConfig(**SHAPE), seed=1), optimizer=rule, **options)

    assert on_ranks(2, partial(work, zero=2)) == on_ranks(1, work)
    unpacked = partial(work, packed=False)
    assert on_ranks(2, unpacked) == on_ranks(1, unpacked)


class Few:
    """Batches of 1 to 4 samples, each a micro-batch: in some steps there are fewer than ranks."""

    steps_per_epoch = 4

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        count = step % 4 + 1
        tokens = np.random.default_rng(step).integers(0, 11, (count, 8))
        return [(row, (tokens[row : row + 1], np.roll(tokens[row : row + 1], 1, axis=1))) for row in range(count)]


def test_ranks_without_a_micro_batch():
    def work(group: Group, **options: Any) -> Any:
        model = GPT(GPTConfig(**SHAPE), seed=1)
        return result(group, model, EMA(0.9), train_data=Few(), max_steps=5, **options)

    for dtype in ("float32", "bfloat16"):
        every = partial(work, reduce_dtype=dtype)
        alone = on_ranks(1, every)
        for zero in (0, 2):
            assert on_ranks(2, partial(every, zero=zero)) == on_ranks(4, partial(every, zero=zero)) == alone


def test_a_training_that_goes_on_after_its_end():
    def work(group: Group, **options: Any) -> Any:
        trainer = small_trainer(group, max_steps=2, **options)
        trainer.train()
        trainer.total_steps = 4
        trainer.train()
        return b"".join(array.tobytes() for array in trainer.model.state_dict().values()).hex()

    assert on_ranks(2, partial(work, zero=2)) == on_ranks(1, work)
