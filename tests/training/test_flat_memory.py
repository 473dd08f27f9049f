"""A long run holds no more memory at its end than at its beginning."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from minitrain.nn import Module, Parameter
from minitrain.ops.contract.loss import Loss
from minitrain.training import Callback, Trainer, TrainingConfig, create_callbacks

STEPS, FIRST = 4_000, 1_000
BOUND = 24 * 1000  # bytes; 8 a step would be as much. The history grows by design, here by 3 records of some 30 numbers


class Batch(NamedTuple):
    x: Any


class Null(Module):
    """A model that costs next to nothing: the loss is the mean of ``weight * x``."""

    def __init__(self) -> None:
        self.weight = Parameter(np.ones(2, np.float32))

    def loss(self, batch: Batch, *, key: Any = None) -> tuple[Loss, Any]:
        return Loss(float(self.weight.data @ batch.x), 1), batch.x

    def loss_backward(self, cache: Any) -> None:
        self.weight.grad[...] += cache


class Measuring(Callback):
    """Reads the memory at two steps."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def on_step_end(self, view: Any, update: Any) -> None:
        if view.step in (FIRST, STEPS):
            gc.collect()
            self.bytes[view.step] = tracemalloc.get_traced_memory()[0]


class Leaking(Callback):
    """Keeps a number of each step."""

    def __init__(self) -> None:
        self.kept: list[float] = []

    def on_step_end(self, view: Any, update: Any) -> None:
        self.kept.append(update.loss)


def growth(folder: Path, *callbacks: Callback) -> int:
    named = create_callbacks(
        [
            {"name": "early_stopping", "patience": None},
            {"name": "ema", "decay": 0.9},
            {"name": "time_limit", "seconds": 1e6},
            {"name": "throughput", "utilisation": False},
            "nan_guard",
            {"name": "spike_guard", "threshold": 1e6},
            "gradient_statistics",
            "weight_statistics",
            "learning_rate_monitor",
            "csv",
        ]
    )
    measuring = Measuring()
    config = TrainingConfig(
        max_steps=STEPS, log_every=1000, validation_frequency=1000, save_every=2000, learning_rate=1e-6
    )
    batches = [Batch(np.array([1.0, 2.0], np.float32))]
    trainer = Trainer(
        model=Null(),
        train_data=batches,
        val_data=batches,
        config=config,
        callbacks=[*named, *callbacks, measuring],
        run_dir=folder / "run",
    )
    tracemalloc.start()
    try:
        trainer.train()
    finally:
        tracemalloc.stop()
    return measuring.bytes[STEPS] - measuring.bytes[FIRST]


@pytest.mark.skipif(sys.gettrace() is not None, reason="who counts lines keeps tables, which grow")
def test_thousands_of_steps_leave_memory_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert growth(tmp_path) < BOUND


@pytest.mark.slow
def test_a_leak_would_be_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert growth(tmp_path, Leaking()) > BOUND
