"""Training steps to profile: from the settings of a run, or of a preset on random tokens."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..backend.precision import use_precision
from ..data import TokenLoader
from ..errors import ConfigError
from ..models.common.decoder import Decoder
from ..models.presets import build_model
from ..nn.core.module import Module
from ..nn.core.packing import pack
from ..optim import AdamW
from ..random import Key
from ..runs import RunConfig, start_run
from ..training.steps.plain import train_step
from .machine import Machine
from .recorder import Profile
from .report import Report

BATCH_SIZE, LENGTH = 4, 256
"""Default batch size of a preset: about a thousand tokens, a few seconds per step for a model of GPT-2's size."""


class Steps(NamedTuple):
    """Something to profile.

    Attributes:
        title: a description, in one line.
        model: the model that is trained.
        train: runs the update with a given number, from 0.
        precision: precision of the operands of products.
    """

    title: str
    model: Module
    train: Callable[[int], object]
    precision: str = "float32"


@contextlib.contextmanager
def steps_of_run(config: RunConfig) -> Iterator[Steps]:
    """The steps of a run with these settings, without callbacks, in a temporary folder.

    Raises:
        ConfigError: if the run would train on a GPU, which is still working when a call returns.
        MinitrainError: see `start_run`.
    """
    if config.device != "cpu":
        raise ConfigError(f"device={config.device}: a profile times calls on the CPU; use device=cpu")
    with tempfile.TemporaryDirectory() as folder:
        here = replace(config, run_dir=f"{folder}/run", callbacks=(), data=replace(config.data, prefetch=0))
        trainer = start_run(here).trainer

        def train(step: int) -> None:
            trainer.state.step = step
            trainer.loop.update(trainer.setup.batch(step))

        B, T = config.trainer.batch_size, getattr(config.data, "block_size", None)
        title = _title(config.recipe or config.model.name, trainer.model, B, T, config.trainer.precision)
        yield Steps(title, trainer.model, train, config.trainer.precision)


def steps_of_preset(
    name: str, *, batch_size: int = BATCH_SIZE, length: int | None = None, precision: str = "float32"
) -> Steps:
    """Steps of a language model with AdamW and clipping on random tokens.

    Args:
        name: name of the preset.
        batch_size: sequences per step, B.
        length: length of a sequence, T; ``None`` for 256, or the model's longest if that is shorter.
        precision: precision of the operands of products, ``float32`` or ``bfloat16``.

    Raises:
        ConfigError: if there is no such preset, it is not a language model, or a size is out of range.
    """
    model = build_model(name)
    if not isinstance(model, Decoder):
        raise ConfigError(
            f"{name} is not a language model, so it cannot train on random tokens; profile a training of your own with "
            "minitrain.profiling.Profile"
        )
    longest: int = model.config.block_size
    length = min(longest, LENGTH) if length is None else length
    if not 1 <= length <= longest:
        raise ConfigError(f"length = {length}: {name} takes sequences of 1 to {longest} tokens")
    if batch_size < 1:
        raise ConfigError(f"batch size = {batch_size}: give 1 or more")
    pack(model)
    optimizer, key = AdamW(model, weight_decay=0.1), Key.from_seed(0)
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, 4 * batch_size * length + 1)
    loader = TokenLoader(tokens, length, batch_size, 0)

    def train(step: int) -> None:
        batch = loader.micro_batches(step, 1)
        with use_precision(precision):
            train_step(model, optimizer, batch, lr=1e-4, key=key.fold(step), max_grad_norm=1.0)

    return Steps(_title(name, model, batch_size, length, precision), model, train, precision)


def profile_steps(
    steps: Steps, count: int, *, warmup: int, machine: Machine | None = None, by_layer: bool = False
) -> Report:
    """Train some steps as a warm-up, then record more.

    Args:
        steps: the steps to train.
        count: number of steps to record.
        warmup: number of steps before, which compile kernels and allocate memory.
        machine: the machine's speeds, for the report.
        by_layer: whether to distinguish layers.
    """
    for step in range(warmup):
        steps.train(step)
    with Profile(steps.model if by_layer else None) as recorded:
        for step in range(warmup, warmup + count):
            steps.train(step)
            recorded.step()
    return recorded.report(machine)


def _title(name: str, model: Module, batch_size: int, length: int | None, precision: str) -> str:
    kind = "" if precision == "float32" else f", {precision}"
    samples = "samples" if length is None else f"sequences of {length} tokens"
    return f"{name}: {model.parameter_count():,} parameters, {batch_size} {samples} a step{kind}"
