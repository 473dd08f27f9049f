"""Small trainers with callbacks, and callbacks that ask for something or count."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from minitrain.data import TokenLoader
from minitrain.models.gpt import GPT, GPTConfig
from minitrain.optim import AdamW, Constant
from minitrain.runs import TokenWindows
from minitrain.training import Callback, Trainer, TrainingConfig


def make(run_dir: Path | None, *callbacks: Callback, model: Any = None, **config: Any) -> Trainer:
    """24 windows a pass in batches of 4: an epoch of 6 steps."""
    tokens = np.random.default_rng(0).integers(0, 11, 300)
    model = model or GPT(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8, dropout=0.1), seed=1)
    settings: dict[str, Any] = {"max_steps": 8, "validation_frequency": 3, "save_every": 4, "log_every": 2} | config
    return Trainer(
        model=model,
        optimizer=AdamW(model, lr=0.01),
        scheduler=Constant(0.01),
        train_data=TokenLoader(tokens[:201], 8, 4, seed=0),
        val_data=TokenWindows(tokens[201:], 8, 4),
        config=TrainingConfig(batch_size=4, gradient_accumulation_steps=2, **settings),
        callbacks=callbacks,
        run_dir=run_dir,
        progress=False,
        warn=lambda message: None,
    )


class Asking(Callback):
    """Asks for something at some steps."""

    def __init__(self, **wanted: int) -> None:
        self.wanted = wanted

    def on_step_end(self, view: Any, update: Any) -> None:
        for what, step in self.wanted.items():
            if view.step == step:
                setattr(view.control, what, "enough" if what == "stop" else True)


class Counting(Callback):
    """Has a state: a number and an array."""

    def __init__(self) -> None:
        self.steps, self.sums = 0, np.zeros(2, np.float32)

    def on_step_end(self, view: Any, update: Any) -> None:
        self.steps += 1
        self.sums += np.float32(update.loss)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "sums": self.sums}

    def load_state_dict(self, state: Any) -> None:
        self.steps, self.sums = state["steps"], state["sums"].copy()


def fingerprint(batch: Any) -> int:
    return zlib.crc32(batch.inputs.tobytes())


class Poisoned(GPT):
    """A model whose loss is NaN on chosen batches, counted by their calls."""

    def __init__(self, *bad: int) -> None:
        super().__init__(GPTConfig(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8), seed=1)
        self.bad, self.seen = bad, []

    def loss(self, batch: Any, *, key: Any = None) -> Any:
        loss, cache = super().loss(batch, key=key)
        if key is not None:  # in training
            self.seen.append(fingerprint(batch))
            if self.seen[-1] in self.bad:
                loss = loss._replace(total=math.nan)
        return loss, cache


def first_parts_of(steps: int) -> list[int]:
    """The first micro-batch of each step, by a sum of its tokens."""
    trainer = make(None, model=Poisoned())
    return [fingerprint(trainer.setup.data.micro_batches(step, 2)[0][1]) for step in range(steps)]
