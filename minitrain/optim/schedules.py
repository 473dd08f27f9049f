"""Learning-rate schedules: pure functions of the step, ``schedule(step) -> lr``, for the update with that number.

Steps count from 0. The rate is set before the update it governs, so the first update already runs at the warm-up's
first rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True)
class Constant:
    """A constant rate after an optional linear warm-up: ``lr * min(1, (step + 1) / (warmup_steps + 1))``."""

    lr: float
    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        return _warmup(self.lr, step, self.warmup_steps)


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up, then a half cosine down to ``min_lr`` (Loshchilov, Hutter, 2017, arXiv:1608.03983).

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
        if not 0 <= self.min_lr <= self.max_lr:
            raise ConfigError(f"min_lr = {self.min_lr} must lie between 0 and the learning rate {self.max_lr}")
        if not 0 <= self.warmup_steps < self.total_steps:
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} must be less than the {self.total_steps} steps of the run"
            )

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        if step < self.warmup_steps:
            return _warmup(self.max_lr, step, self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (self.max_lr - self.min_lr)


def _warmup(lr: float, step: int, warmup_steps: int) -> float:
    return lr * min(1.0, (step + 1) / (warmup_steps + 1))
