"""Loops and callbacks of one's own on several ranks: they see what they would see on one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minitrain.distributed import Group, run_ranks
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import pack
from minitrain.optim import AdamW, buckets
from minitrain.training import Callback
from tests.distributed.small_trainings import on_ranks, small_trainer

SHAPE = {"vocab_size": 11, "block_size": 8, "n_layer": 3, "n_head": 2, "n_embd": 8, "dropout": 0.1}


def test_a_step_by_hand_shares_the_batch():
    """Each rank gives all of it."""

    def work(group: Group, **options: Any) -> Any:
        trainer = small_trainer(group, **options)
        tokens = np.random.default_rng(0).integers(0, 11, (9, 8))
        losses = [trainer.train_step(tokens, np.roll(tokens, -1, axis=1)) for _ in range(3)]
        weights = b"".join(array.tobytes() for array in trainer.model.state_dict().values()).hex()
        return losses, trainer.state.tokens, weights

    alone = on_ranks(1, work)
    assert on_ranks(2, work) == on_ranks(4, partial(work, zero=2)) == on_ranks(2, partial(work, zero=2)) == alone
    assert alone[1] == 3 * 9 * 8


class Reader(Callback):
    """Reads the gradient after each micro-batch."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.seen: list[list[bytes]] = []

    def on_substep_end(self, view: Any, loss: Any) -> None:
        self.seen.append([parameter.read_grad().tobytes() for parameter in self.model.parameters()])


def test_who_reads_gradients_of_micro_batches_sees_them_before_they_travel(monkeypatch):
    monkeypatch.setattr(buckets, "SMALLEST", 300)  # so that a small model has several

    def work(group: Group, kind: type[Reader], overlap: bool) -> Any:
        model = GPT(GPTConfig(**SHAPE), seed=1)
        reader = kind(model)
        trainer = small_trainer(
            group, None, reader, model=model, max_steps=3, gradient_accumulation_steps=2, overlap=overlap
        )
        trainer.train()
        return reader.seen, trainer.loop.together.overlap

    class Blind(Reader):
        reads_gradients = False

    apart = run_ranks(2, partial(work, kind=Reader, overlap=False), patience=20)
    assert run_ranks(2, partial(work, kind=Reader, overlap=True), patience=20) == apart
    assert all(overlap for _, overlap in run_ranks(2, partial(work, kind=Blind, overlap=True), patience=20))


def test_a_second_training_goes_on_with_shared_moments():
    def work(group: Group, **options: Any) -> str:
        model = GPT(GPTConfig(**SHAPE), seed=1)
        pack(model)
        optimizer = AdamW(model, lr=0.01)
        for _ in range(2):
            trainer = small_trainer(
                group, None, model=model, optimizer=lambda model, lr: optimizer, max_steps=2, **options
            )
            trainer.train()
        return b"".join(array.tobytes() for array in model.state_dict().values()).hex()

    assert on_ranks(2, partial(work, zero=1)) == on_ranks(1, work)
