"""Cosine schedules (Loshchilov, Hutter, 2017, arXiv:1608.03983)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigError
from ..registry import register_schedule
from .drawn import Falling
from .warmup import warmup_factor


def cosine_between(start: float, end: float, progress: float) -> float:
    """Half a cosine wave from ``start`` at progress 0 to ``end`` at progress 1."""
    return end + 0.5 * (1 + math.cos(math.pi * progress)) * (start - end)


@register_schedule("warmup_cosine")
@dataclass(frozen=True)
class WarmupCosine(Falling):
    """Linear warm-up, then a half cosine down to ``min_lr``.

    Attributes:
        max_lr: rate at the end of the warm-up.
        min_lr: rate at ``total_steps`` and after.
        warmup_steps: number of warm-up updates; update ``warmup_steps`` is the first at the full rate.
        total_steps: where the cosine ends; must be given.
    """

    warmup_steps: int = 0
    total_steps: int = 0

    def __post_init__(self) -> None:
        """Check the settings, and that the phases fit."""
        super().__post_init__()
        if not self.warmup_steps < self.total_steps:
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} must be less than the {self.total_steps} steps of the run"
            )

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        if step < self.warmup_steps:
            return self.max_lr * warmup_factor(step, self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return cosine_between(self.max_lr, self.min_lr, progress)


@register_schedule("cosine_restarts")
@dataclass(frozen=True)
class CosineRestarts(Falling):
    """Half cosines from ``max_lr`` down to ``min_lr``, one after the other; the rate jumps up between them.

    Attributes:
        max_lr: rate at the start of every cycle.
        min_lr: the rate that a cycle approaches; the next cycle starts just before it.
        cycle_steps: length of the first cycle; must be given.
        cycle_factor: each cycle is this many times as long as the previous one.
    """

    run_parts: ClassVar[Mapping[str, float]] = {"cycle_steps": 0.25}

    cycle_steps: int = 0
    cycle_factor: int = 1

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        length = self.cycle_steps
        if self.cycle_factor == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.cycle_factor
        return cosine_between(self.max_lr, self.min_lr, step / length)
