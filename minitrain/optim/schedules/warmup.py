"""A constant rate, and a linear warm-up before any schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..registry import register_schedule
from .drawn import Drawn


class Schedule(Protocol):
    """A schedule is a function of the step."""

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``, counted from 0."""


def warmup_factor(step: int, warmup_steps: int) -> float:
    """``min(1, (step + 1) / (warmup_steps + 1))``: update ``warmup_steps`` is the first at the full rate."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


@register_schedule("constant")
@dataclass(frozen=True)
class Constant(Drawn):
    """A constant rate after an optional linear warm-up: ``lr * min(1, (step + 1) / (warmup_steps + 1))``."""

    lr: float
    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        return self.lr * warmup_factor(step, self.warmup_steps)


@dataclass(frozen=True)
class Warmup(Drawn):
    """A linear warm-up to the first rate of another schedule, which starts after the warm-up.

    Attributes:
        schedule: the schedule after the warm-up; its step 0 is update ``warmup_steps``.
        warmup_steps: number of warm-up updates.
    """

    schedule: Schedule
    warmup_steps: int

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        return self.schedule(max(0, step - self.warmup_steps)) * warmup_factor(step, self.warmup_steps)
