"""Cosine schedules (Loshchilov, Hutter, 2017, arXiv:1608.03983)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import ConfigError
from ..checks import POSITIVE, check_numbers
from .drawn import Drawn
from .warmup import warmup_factor


def cosine_between(start: float, end: float, progress: float) -> float:
    """Half a cosine wave from ``start`` at progress 0 to ``end`` at progress 1."""
    return end + 0.5 * (1 + math.cos(math.pi * progress)) * (start - end)


def check_order(min_lr: float, max_lr: float) -> None:
    """Raise ``ConfigError`` unless these are numbers and ``0 <= min_lr <= max_lr``."""
    check_numbers("the schedule", min_lr=min_lr, max_lr=max_lr)
    if not 0 <= min_lr <= max_lr:
        raise ConfigError(f"min_lr = {min_lr} must lie between 0 and the learning rate {max_lr}")


@dataclass(frozen=True)
class WarmupCosine(Drawn):
    """Linear warm-up, then a half cosine down to ``min_lr``.

    Attributes:
        max_lr: rate at the end of the warm-up.
        min_lr: rate at ``total_steps`` and after.
        warmup_steps: number of warm-up updates; update ``warmup_steps`` is the first at the full rate.
        total_steps: where the cosine ends.
    """

    max_lr: float
    min_lr: float
    warmup_steps: int
    total_steps: int

    def __post_init__(self) -> None:
        """Check that the phases fit.

        Raises:
            ConfigError: if they do not.
        """
        check_order(self.min_lr, self.max_lr)
        if not 0 <= self.warmup_steps < self.total_steps:
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} must be less than the {self.total_steps} steps of the run"
            )

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        if step < self.warmup_steps:
            return self.max_lr * warmup_factor(step, self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return cosine_between(self.max_lr, self.min_lr, progress)


@dataclass(frozen=True)
class CosineRestarts(Drawn):
    """Half cosines from ``max_lr`` down to ``min_lr``, one after the other, each starting with a jump up.

    Attributes:
        max_lr: rate at the start of every cycle.
        min_lr: rate that a cycle runs down to; the next one starts in its place.
        cycle_steps: length of the first cycle.
        cycle_factor: each cycle is this many times as long as the one before.
    """

    max_lr: float
    min_lr: float
    cycle_steps: int
    cycle_factor: int = 1

    def __post_init__(self) -> None:
        """Check rates and lengths.

        Raises:
            ConfigError: if one is out of range.
        """
        check_order(self.min_lr, self.max_lr)
        POSITIVE.check("CosineRestarts", cycle_steps=self.cycle_steps, cycle_factor=self.cycle_factor)

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        length = self.cycle_steps
        if self.cycle_factor == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.cycle_factor
        return cosine_between(self.max_lr, self.min_lr, step / length)
