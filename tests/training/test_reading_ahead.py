"""A trainer whose batches come from a thread: it ends with the training, however that ends, and memory is flat."""

from __future__ import annotations

import gc
import os
import signal
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minitrain.data import PrefetchLoader, TokenLoader
from minitrain.nn import Module, Parameter
from minitrain.ops.contract.loss import Loss
from minitrain.training import Callback, Interrupted, Trainer, TrainingConfig


class Counter(Module):
    """A model of one weight, whose loss is the weight for each target."""

    def __init__(self) -> None:
        self.weight = Parameter(np.ones(1))

    def loss(self, batch: Any, *, key: Any = None) -> Any:
        return Loss(float(self.weight.data[0]) * batch.targets.size, float(batch.targets.size)), batch.targets.size

    def loss_backward(self, cache: int) -> None:
        self.weight.grad[...] += cache


class Each(Callback):
    """Calls a function after each step, with the number of steps done."""

    def __init__(self, action: Callable[[int], object]) -> None:
        self.action = action

    def on_step_end(self, view: Any, update: Any) -> None:
        self.action(view.step)


def trainer(steps: int, action: Callable[[int], object], data: Any = None) -> Trainer:
    return Trainer(
        model=Counter(),
        train_data=data or PrefetchLoader(TokenLoader(np.arange(100), 4, 2, seed=0)),
        config=TrainingConfig(max_steps=steps, gradient_accumulation_steps=2, log_every=10**6),
        callbacks=[Each(action)],
        progress=False,
    )


def reading_ahead() -> int:
    """How many threads read ahead."""
    return sum(thread.name == "minitrain-prefetch" for thread in threading.enumerate())


class Failure(Exception):
    """Something nobody foresaw."""


def fail() -> None:
    raise Failure


ENDS = {
    "after the last step": (lambda: None, None),
    "by an error": (fail, Failure),
    "by Ctrl-C": (lambda: os.kill(os.getpid(), signal.SIGINT), Interrupted),
    "at once": (lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)], KeyboardInterrupt),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_thread_ends_with_the_training(end: str) -> None:
    action, error = ENDS[end]
    alive: list[int] = []
    before = reading_ahead()
    one = trainer(5, lambda step: (alive.append(reading_ahead() - before), step == 3 and action()))
    if error is None:
        one.train()
    else:
        with pytest.raises(error):
            one.train()
    assert set(alive) == {1}
    assert reading_ahead() == before


class Ending:
    """A loader that fails at its fourth batch."""

    steps_per_epoch = 10

    def micro_batches(self, step: int, accumulation: int) -> Any:
        if step == 3:
            raise Failure
        return TokenLoader(np.arange(100), 4, 2, seed=0).micro_batches(step, accumulation)


def test_an_error_of_the_loader_ends_the_training_at_its_step() -> None:
    before = reading_ahead()
    one = trainer(8, lambda step: None, PrefetchLoader(Ending()))  # type: ignore[arg-type]
    with pytest.raises(Failure):
        one.train()
    assert one.state.step == 3
    assert reading_ahead() == before


def test_memory_is_flat() -> None:
    """Over two thousand steps, of whose batches each fills two kilobytes."""
    held: dict[int, int] = {}

    def measure(step: int) -> None:
        if step in (500, 2500):
            gc.collect()
            held[step] = tracemalloc.get_traced_memory()[0]

    loader = PrefetchLoader(TokenLoader(np.arange(5000), 32, 8, seed=0))
    tracemalloc.start()
    try:
        trainer(2500, measure, loader).train()
    finally:
        tracemalloc.stop()
    assert held[2500] - held[500] < 20_000
