"""What one rank meets, all decide: losses that are not finite, requests of callbacks, signals, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from minitrain.distributed import Group, run_ranks
from minitrain.errors import BadSampleError, NonFiniteError
from minitrain.losses import MeanSquaredError
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.nn import Linear
from minitrain.training import Callback, NaNGuard, Trainer, TrainingConfig
from tests.distributed.small_trainings import digest, history, on_ranks, small_trainer
from tests.helpers.small_trainers import fingerprint

LOADER = small_trainer(None).setup.data


class Poisoned(GPT):
    """Its loss is NaN on chosen micro-batches."""

    bad: frozenset[int] = frozenset()

    def loss(self, batch: Any, *, key: Any = None) -> Any:
        loss, cache = super().loss(batch, key=key)
        if key is not None and fingerprint(batch) in self.bad:
            loss = loss._replace(total=math.nan)
        return loss, cache


def poisoned(*places: tuple[int, int]) -> Poisoned:
    """Bad at these steps and micro-batches."""
    model = Poisoned(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1)
    parts = [LOADER.micro_batches(step, 4)[number][1] for step, number in places]
    model.bad = frozenset(fingerprint(part) for part in parts)
    return model


def test_a_loss_that_is_not_finite_on_one_rank_skips_the_step_on_all():
    def work(group: Group) -> Any:
        trainer = small_trainer(group, None, NaNGuard("skip"), model=poisoned((1, 3), (3, 0), (3, 2)))
        trainer.train()
        return digest(trainer), history(trainer), trainer.state.skipped

    alone = on_ranks(1, work)
    assert alone[2] == 2
    assert on_ranks(2, work) == on_ranks(4, work) == alone


def test_without_a_guard_all_ranks_end_with_the_error_of_the_first_bad_micro_batch():
    messages = []
    for size in (1, 2, 4):

        def work(group: Group) -> str:
            with pytest.raises(NonFiniteError) as caught:
                small_trainer(group, None, model=poisoned((1, 1), (1, 3))).train()
            return str(caught.value)

        messages.append(on_ranks(size, work))
    assert len(set(messages)) == 1
    assert "step 2" in messages[0]


def test_a_bad_sample_is_told_as_one_on_every_rank():
    def work(group: Group) -> str:
        inputs = np.ones((8, 2), np.float32)
        inputs[5] = np.nan
        trainer = Trainer(
            model=Linear(2, 1, np.random.default_rng(0)),
            train_data=[(inputs, np.ones((8, 1), np.float32))],
            loss_fn=MeanSquaredError(),
            config=TrainingConfig(batch_size=8, gradient_accumulation_steps=4, max_steps=1),
            progress=False,
            group=group,
        )
        with pytest.raises(BadSampleError) as caught:
            trainer.train()
        return str(caught.value)

    assert "sample 5" in on_ranks(1, work)
    assert on_ranks(2, work) == on_ranks(4, work) == on_ranks(1, work)


def test_all_ranks_roll_back_together(tmp_path):
    def work(group: Group) -> Any:
        guard = NaNGuard("rollback")
        trainer = small_trainer(group, tmp_path / str(group.size), guard, model=poisoned((4, 3)))
        trainer.train()
        return digest(trainer), trainer.state.rollbacks, trainer.state.data_offset

    alone = on_ranks(1, work)
    assert alone[1:] == (1, 2)  # back to step 3, on behind batch 4
    assert on_ranks(2, work) == on_ranks(4, work) == alone


class OnlyOn(Callback):
    """Asks for something on one rank: by a clock, for example, no two ranks see the same."""

    def __init__(self, asks: bool, **wanted: int) -> None:
        self.asks, self.wanted, self.saved = asks, wanted, 0

    def on_before_optimizer_step(self, view: Any, gradient: Any) -> None:
        if self.asks and self.wanted.get("skip") == view.step:
            view.control.skip = True

    def on_step_end(self, view: Any, update: Any) -> None:
        for what, step in self.wanted.items():
            if self.asks and what != "skip" and step == view.step:
                setattr(view.control, what, "enough" if what == "stop" else True)


@pytest.mark.parametrize("what", ["evaluate", "save", "skip", "stop"])
def test_requests_of_rank_0_hold_for_all_and_others_for_none(tmp_path, what):
    def work(group: Group, asking: int) -> Any:
        callback = OnlyOn(group.rank == asking, **{what: 5})
        trainer = small_trainer(group, tmp_path / f"{asking}-{group.size}", callback)
        trainer.train()
        return digest(trainer), history(trainer), trainer.state.step, trainer.state.skipped

    of_main, of_another = on_ranks(2, lambda group: work(group, 0)), on_ranks(2, lambda group: work(group, 1))
    assert of_main == on_ranks(1, lambda group: work(group, 0))
    assert (of_main == of_another) is (what == "save")  # a checkpoint more changes nothing in the run itself
    assert of_another[2:] == (6, 0)


def test_an_error_on_one_rank_is_the_error_of_the_training():
    class Failing(Callback):
        def on_step_end(self, view: Any, update: Any) -> None:
            if view.step == 2:
                raise ValueError("my callback fails")

    def work(group: Group) -> None:
        small_trainer(group, None, *([Failing()] if group.rank == 1 else [])).train()

    with pytest.raises(ValueError, match="my callback fails"):
        run_ranks(4, work, patience=20)
