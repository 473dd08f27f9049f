"""How much memory and time a training will take, and what to say when memory runs out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..backend.memory import available_memory
from ..backend.pool import POOL
from ..backend.precision import use_precision
from ..errors import MinitrainError
from ..formats import duration, size
from .feed import data_restored
from .setup import HasSetup, Setup, setup_of


class MemoryShortage(MinitrainError):
    """Memory ran out; the message says how much was asked for, how much there is, and which setting to change."""


@dataclass(frozen=True)
class Estimate:
    """The memory that a training will take.

    Attributes:
        weights: bytes of parameters, gradients and moments.
        activations: bytes that one micro-batch needs at its peak, besides.
        available: bytes of free memory; ``None`` if the system does not say.
        seconds: time of all updates that are left, at the pace of the trial.
        steps: number of these updates.
    """

    weights: int
    activations: int
    available: int | None
    seconds: float
    steps: int

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.weights + self.activations

    def describe(self) -> str:
        """One line for the screen."""
        memory = f"{size(self.weights)} for weights, gradients and moments, {size(self.activations)} for activations"
        warning = ""
        if self.available is not None and self.total > self.available:
            warning = f"; only {size(self.available)} are free: {KNOBS}"
        return f"memory: {memory}; time: about {duration(self.seconds)} for {self.steps:,} steps{warning}"


KNOBS = (
    "raise trainer.gradient_accumulation_steps, set trainer.activation_checkpointing=true, or lower "
    "trainer.batch_size or data.block_size"
)


def estimate(training: Setup | HasSetup, step: int = 0, total_steps: int = 0) -> Estimate:
    """Try one micro-batch forward and backward, without an update, and extrapolate from that.

    Nothing changes but the gradients, which the next step overwrites: random numbers are functions of keys, no weight
    is touched, and data that is read in order stands where it stood. The second of two trials is timed, when all
    kernels are compiled.

    Args:
        training: a `Setup`, or a trainer, which has one and knows its steps.
        step: number of updates done.
        total_steps: number of updates in all.
    """
    setup = setup_of(training)
    if not isinstance(training, Setup):
        step, total_steps = training.state.step, training.total_steps
    with data_restored(setup.data):
        parts = setup.batch(step)
    first, batch = parts[0]
    key = setup.key.fold(step).at_sample(first)
    before = POOL.in_use
    seconds, peak = 0.0, 0
    for _ in range(2):
        setup.optimizer.zero_grad()
        POOL.reset_peak()
        began = time.perf_counter()
        with use_precision(setup.arithmetic.precision):
            _, cache = setup.objective.loss(batch, key=key)
            setup.objective.loss_backward(cache)
        seconds, peak = time.perf_counter() - began, POOL.peak - before
    setup.optimizer.zero_grad()
    left = max(0, total_steps - step)
    weights = weights_bytes(setup.model, setup.optimizer)
    return Estimate(weights, peak, available_memory(), seconds * len(parts) * left, left)


def weights_bytes(model: Any, optimizer: Any) -> int:
    """Bytes of parameters, gradients of the trainable ones, and moments."""
    held = sum(p.data.nbytes * (2 if p.trainable else 1) for p in model.parameters())
    moments = optimizer.state_dict().get("moments", {})
    return int(held + sum(array.nbytes for array in moments.values()))


def shortage(error: MemoryError, step: int, setup: Setup) -> MemoryShortage:
    """The error for a training that ran out of memory in the step after ``step`` updates."""
    asked = str(error).rstrip(".") or "an allocation failed"
    free = available_memory()
    there = "" if free is None else f", {size(free)} are free"
    return MemoryShortage(
        f"step {step + 1}: out of memory: {asked}{there}; weights, gradients and moments take "
        f"{size(weights_bytes(setup.model, setup.optimizer))}. {KNOBS[0].upper()}{KNOBS[1:]}"
    )
