"""The cost of the trainer itself in a step: a model that computes nothing, under the trainer and under a bare loop.

    python -m benchmarks.trainer_cost

Both do the same optimizer steps, clipping and random keys over the same batches of the same loader. The bare loop is
what a user would write by hand; the trainer adds hooks, records, the screen and a metrics file, with the callbacks
that every training has. Checkpoints and evaluations happen once, at the end, and are not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np

from minitrain.benchmark.machine import OtherLoad, describe
from minitrain.benchmark.report import Table, load_line, say, show, write_json

from .output import out_file

STEPS, ROUNDS = 2000, 7
LIMIT = 200e-6  # seconds a step
SUMMARY = "Measure what the trainer itself costs a step."


def parts() -> dict[str, Any]:
    """A model of one weight that computes nothing, its optimizer, and batches."""
    from minitrain.data import TokenLoader
    from minitrain.nn import Module, Parameter
    from minitrain.ops.contract.loss import Loss
    from minitrain.optim import SGD

    class Null(Module):
        def __init__(self) -> None:
            self.weight = Parameter(np.ones(1, np.float32))

        def loss(self, batch: Any, *, key: Any = None) -> Any:
            return Loss(1.0, 1.0), None

        def loss_backward(self, cache: Any) -> None:
            self.weight.grad[...] = 0

    model = Null()
    return {
        "model": model,
        "optimizer": SGD(model, lr=0.0),
        "train_data": TokenLoader(np.arange(1000) % 50, 8, 4, seed=0),
    }


def bare(steps: int) -> float:
    """Seconds a step of a loop written by hand."""
    from minitrain.optim import clip_by_global_norm
    from minitrain.random import Key

    made, key = parts(), Key.from_seed(0)
    model, optimizer, loader = made["model"], made["optimizer"], made["train_data"]
    began = time.perf_counter()
    for step in range(steps):
        optimizer.set_lr(0.0)
        optimizer.zero_grad()
        count = 0.0
        for first, batch in loader.micro_batches(step, 1):
            loss, cache = model.loss(batch, key=key.fold(step).at_sample(first))
            model.loss_backward(cache)
            count += loss.count
        optimizer.step(clip_by_global_norm(model, 1.0, count=count).scale)
    return (time.perf_counter() - began) / steps


def under_trainer(steps: int) -> float:
    """Seconds a step under the trainer, with the callbacks of every training."""
    from minitrain.training import Callback, RunContext, Setup, StepView, Trainer, TrainingConfig, Update

    class Watch(Callback):
        def on_train_begin(self, view: StepView, setup: Setup, run: RunContext) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, view: StepView, update: Update) -> None:
            if view.is_over:
                self.seconds = time.perf_counter() - self.began

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = TrainingConfig(max_steps=steps, validation_frequency=0, save_every=0, log_every=10)
        Trainer(**parts(), config=config, callbacks=[watch := Watch()], run_dir=folder).train()
    return watch.seconds / steps


def main() -> int:
    """Measure in turn, print, and judge."""
    argparse.ArgumentParser(prog="python -m benchmarks.trainer_cost", description=SUMMARY).parse_args()
    load, began = OtherLoad(), time.process_time()
    bare(100), under_trainer(100)  # compiles and imports
    rounds = [(bare(STEPS), under_trainer(STEPS)) for _ in range(ROUNDS)]
    cost = statistics.median(trained - by_hand for by_hand, trained in rounds)
    by_hand, trained = (statistics.median(column) for column in zip(*rounds, strict=True))
    show(
        Table(
            "A step of a model that computes nothing, microseconds",
            ["by hand", "under the trainer", "the trainer's own (median of differences)"],
            [[f"{by_hand * 1e6:.0f}", f"{trained * 1e6:.0f}", f"{cost * 1e6:.0f}"]],
        )
    )
    say(f"wanted: at most {LIMIT * 1e6:.0f}: {'reached' if cost <= LIMIT else 'missed'}")
    say(load_line(others := load.cores(time.process_time() - began)))
    result = {"rounds": rounds, "cost": cost, "others": others, "machine": describe()}
    say(f"figures written to {write_json(out_file('trainer_cost.json'), result)}")
    return 0 if cost <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
