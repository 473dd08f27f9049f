"""Trying out a learning rate or a batch size before training; all state is as before, bit for bit, when they return."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend.pool import POOL
from ..data.loading.batches import map_arrays
from ..errors import ConfigError, NonFiniteError
from ..optim import compute_grad_norm
from ..training.feed import batch_to
from ..formats import size
from ..training.memory import available_memory, weights_bytes
from ..training.step import train_step

if TYPE_CHECKING:
    from ..training.trainer import Trainer


@contextmanager
def state_restored(trainer: Trainer) -> Iterator[None]:
    """Within the block weights and moments may change; after it they have the bytes they had before."""
    weights = {path: array.copy() for path, array in trainer.model.state_dict().items()}
    optimizer = trainer.optimizer.state_dict()
    optimizer = {**optimizer, "moments": {path: array.copy() for path, array in optimizer["moments"].items()}}
    try:
        yield
    finally:
        trainer.model.load_state_dict(weights)
        trainer.optimizer.load_state_dict(optimizer)
        trainer.optimizer.zero_grad()


@dataclass(frozen=True)
class RateSearch:
    """What a search for the learning rate found.

    Attributes:
        rates: the rates tried.
        losses: mean loss at each of them.
        smoothed: the losses, smoothed.
        suggestion: where the smoothed loss fell most steeply.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float

    def plot(self, path: str | Path = "learning_rates.png") -> Path:
        """Draw the losses over the rates; returns the PNG file."""
        from ..plotting.style import TRAIN, VALIDATION, new_figures, save_figure

        figure, (axes,) = new_figures([("loss while the learning rate rises", "loss")], xlabel="learning rate")
        axes.plot(self.rates, self.losses, color=TRAIN, alpha=0.25, linewidth=1)
        axes.plot(self.rates, self.smoothed, color=TRAIN, linewidth=2)
        axes.axvline(self.suggestion, color=VALIDATION, linestyle="--", label=f"suggestion {self.suggestion:.1e}")
        axes.set_xscale("log")
        axes.set_ylim(min(self.smoothed) - 0.1, self.smoothed[0] + 0.5 * (self.smoothed[0] - min(self.smoothed)) + 0.1)
        axes.legend(framealpha=0.9, edgecolor="none")
        save_figure(figure, path)
        return Path(path)


def find_learning_rate(
    trainer: Trainer, *, low: float = 1e-6, high: float = 1.0, steps: int = 100, divergence: float = 4.0
) -> RateSearch:
    """Train while the rate rises, and see where the loss falls most steeply (Smith, 2017, arXiv:1506.01186).

    Args:
        trainer: ready to train; it is as before afterwards.
        low: first rate.
        high: last rate.
        steps: updates in between, each rate a constant factor above the one before.
        divergence: stop when the smoothed loss is this many times the lowest.

    Raises:
        ConfigError: if the rates are not in order, or the loss fell nowhere.
    """
    if not 0 < low < high or steps < 10:
        raise ConfigError(f"find_learning_rate: 0 < low = {low} < high = {high} is needed, and steps = {steps} >= 10")
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    with state_restored(trainer):
        for i in range(steps):
            rate = low * (high / low) ** (i / (steps - 1))
            parts = trainer.train_data.micro_batches(trainer.state.step + i, trainer.accumulation)
            try:
                update = train_step(
                    trainer.model,
                    trainer.optimizer,
                    [(first, batch_to(part, trainer.device)) for first, part in parts],
                    lr=rate,
                    key=trainer.key.fold("find learning rate", i),
                    max_grad_norm=trainer.config.max_grad_norm,
                    objective=trainer.objective,
                )
            except NonFiniteError:
                break
            loss = update.loss / update.tokens
            average = 0.9 * average + 0.1 * loss
            rates.append(rate)
            losses.append(loss)
            smoothed.append(average / (1 - 0.9 ** (i + 1)))
            if smoothed[-1] > divergence * min(smoothed):
                break
    lowest = int(np.argmin(smoothed)) if smoothed else 0
    noise = float(np.std(losses[: max(5, len(losses) // 3)])) if losses else 0.0
    if lowest < 2 or smoothed[0] - smoothed[lowest] < 3 * noise:
        raise ConfigError(
            f"find_learning_rate: the loss fell by no more than its noise between {low} and {high}: try other rates, "
            "more steps, or larger batches"
        )
    steepest = int(np.argmin(np.gradient(smoothed[: lowest + 1])))
    return RateSearch(rates, losses, smoothed, rates[steepest])


@dataclass(frozen=True)
class BatchSearch:
    """What a search for the batch size found.

    Attributes:
        largest: most samples whose forward and backward fit into the memory.
        bytes_per_sample: memory for the activations of one.
        limit: bytes that were taken as the limit.
        tried: sizes that were run, with their peaks in bytes.
    """

    largest: int
    bytes_per_sample: float
    limit: int
    tried: dict[int, int]

    def describe(self) -> str:
        """One line for the screen."""
        return (
            f"up to {self.largest:,} samples fit into {size(self.limit)}, at {size(int(self.bytes_per_sample))} each; "
            "larger batches by gradient_accumulation_steps"
        )


def find_batch_size(trainer: Trainer, *, memory: int | None = None, most: int = 4096) -> BatchSearch:
    """The largest micro-batch whose activations fit into memory.

    Activations grow in proportion to the batch, so two small runs tell the size of a sample; the answer is then run
    itself, and halved as long as memory runs out.

    Args:
        trainer: ready to train; it is as before afterwards.
        memory: bytes for the activations; by default four fifths of what is free.
        most: no more samples than this.

    Raises:
        ConfigError: if not even one sample fits, or the memory is not known.
    """
    free = available_memory()
    limit = memory if memory is not None else None if free is None else int(0.8 * free)
    if limit is None:
        raise ConfigError("find_batch_size: the system does not say how much memory is free; pass memory=")
    _, sample = trainer.train_data.micro_batches(trainer.state.step, 1)[0]
    tried: dict[int, int] = {}
    with state_restored(trainer):
        for count in (1, 2, 4):
            tried[count] = _peak(trainer, _resized(sample, count))
        each = max(1.0, (tried[4] - tried[2]) / 2)
        fixed = max(0.0, tried[4] - 4 * each)
        largest = min(most, math.floor((limit - fixed) / each))
        while largest > 4:
            try:
                tried[largest] = _peak(trainer, _resized(sample, largest))
                if tried[largest] <= limit:
                    break
            except MemoryError:
                pass
            largest = min(largest - 1, largest * 7 // 8)
    largest = largest if largest > 4 else max((n for n in (1, 2, 4) if tried[n] <= limit), default=0)
    if largest < 1:
        raise ConfigError(
            f"find_batch_size: one sample takes {size(tried[1])} and the limit is {size(limit)} (weights, gradients "
            f"and moments take {size(weights_bytes(trainer))} besides): shorten the sequences, or a smaller model"
        )
    return BatchSearch(largest, each, limit, tried)


def _peak(trainer: Trainer, batch: Any) -> int:
    """Bytes that a forward, a backward and the norm of the gradient take at their peak."""
    trainer.optimizer.zero_grad()
    before = POOL.in_use
    POOL.reset_peak()
    _, cache = trainer.objective.loss(batch_to(batch, trainer.device), rng=trainer.key.fold("find batch size"))
    trainer.objective.loss_backward(cache)
    compute_grad_norm(trainer.model)
    return POOL.peak - before


def _resized(batch: Any, count: int) -> Any:
    """A batch of ``count`` samples, its own ones over and over."""
    return map_arrays(batch, lambda x: x[np.arange(count) % len(x)])
