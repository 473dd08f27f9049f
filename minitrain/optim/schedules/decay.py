"""Schedules that multiply the rate by a factor repeatedly."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...errors import ConfigError
from ..registry import register_schedule
from .drawn import Drawn


@register_schedule("step")
@dataclass(frozen=True)
class StepDecay(Drawn):
    """A staircase of equal steps: ``lr * gamma^(step // step_size)``.

    Attributes:
        lr: rate of the first ``step_size`` updates.
        step_size: number of updates at each rate.
        gamma: factor from one rate to the next.
    """

    run_parts: ClassVar[Mapping[str, float]] = {"step_size": 0.25}

    lr: float
    step_size: int
    gamma: float = 0.1

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        return self.lr * self.gamma ** (step // self.step_size)


@register_schedule("multi_step")
@dataclass(frozen=True)
class MultiStep(Drawn):
    """A staircase with steps of your choice: ``lr * gamma^(number of milestones that have been reached)``.

    Attributes:
        lr: rate before the first milestone.
        milestones: numbers of the updates at which the rate changes, in ascending order.
        gamma: factor at each of them.
    """

    run_parts: ClassVar[Mapping[str, tuple[float, ...]]] = {"milestones": (0.5, 0.75)}

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings, and that the milestones ascend."""
        super().__post_init__()
        if any(later <= earlier for earlier, later in itertools.pairwise(self.milestones)):
            raise ConfigError(f"MultiStep: milestones = {self.milestones} must be in ascending order")

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        return self.lr * self.gamma ** bisect_right(self.milestones, step)


@register_schedule("exponential")
@dataclass(frozen=True)
class Exponential(Drawn):
    """A smooth decay: ``lr * gamma^step``.

    Attributes:
        lr: rate of the first update.
        gamma: factor from each update to the next.
    """

    lr: float
    gamma: float = 0.999

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        return self.lr * self.gamma**step
