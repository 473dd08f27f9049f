"""Schedules in phases: up and down; and up, constant, down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...errors import ConfigError
from ..checks import check_choice
from ..registry import register_schedule
from .cosine import cosine_between
from .drawn import Drawn, Falling
from .warmup import warmup_factor


@register_schedule("one_cycle")
@dataclass(frozen=True)
class OneCycle(Drawn):
    """Up to a high rate and down to almost none (Smith, Topin, 2018, arXiv:1708.07120).

    The rate rises from ``max_lr / start_factor`` to ``max_lr`` at update ``rise * total_steps - 1``, then falls to
    ``max_lr / start_factor / end_factor`` at the last update.

    Attributes:
        max_lr: the highest rate.
        total_steps: number of updates.
        rise: the fraction of updates in which the rate rises.
        start_factor: the first rate is this many times smaller than the highest.
        end_factor: the last rate is this many times smaller than the first.
        shape: ``"cosine"`` for half cosine waves, ``"linear"`` for straight lines.
    """

    rises: ClassVar[bool] = True

    max_lr: float
    total_steps: int
    rise: float = 0.3
    start_factor: float = 25.0
    end_factor: float = 1e4
    shape: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        """Check the settings, and that there are enough steps for the two phases."""
        super().__post_init__()
        check_choice("OneCycle", "shape", self.shape, ("cosine", "linear"))
        if not 1 < self.rise * self.total_steps < self.total_steps:
            raise ConfigError(
                f"OneCycle: rise = {self.rise} of total_steps = {self.total_steps} must be more than one step and "
                "less than all of them"
            )

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        peak, end = self.rise * self.total_steps - 1, self.total_steps - 1
        first = self.max_lr / self.start_factor
        between = cosine_between if self.shape == "cosine" else _line_between
        if step <= peak:
            return between(first, self.max_lr, step / peak)
        return between(self.max_lr, first / self.end_factor, min(1.0, (step - peak) / (end - peak)))


@register_schedule("warmup_stable_decay")
@dataclass(frozen=True)
class WarmupStableDecay(Falling):
    """Linear warm-up, a constant rate, and a short decay at the end (Hu et al., 2024, arXiv:2404.06395).

    Before the decay, the rate does not depend on ``total_steps``: a run can be extended from any checkpoint until then.

    Attributes:
        max_lr: the constant rate.
        min_lr: rate at ``total_steps`` and after.
        warmup_steps: number of warm-up updates; update ``warmup_steps`` is the first at the full rate.
        decay_steps: number of updates from the full rate down to ``min_lr``; must be given.
        total_steps: where the decay ends; must be given.
        shape: with p from 0 to 1 during the decay, ``"linear"`` multiplies by 1 - p and ``"sqrt"`` by 1 - sqrt(p),
            which Hägele et al. (2024, arXiv:2405.18392) found to be better.
    """

    run_parts: ClassVar[Mapping[str, float]] = {"decay_steps": 0.2}

    warmup_steps: int = 0
    decay_steps: int = 0
    total_steps: int = 0
    shape: Literal["linear", "sqrt"] = "linear"

    def __post_init__(self) -> None:
        """Check the settings, and that the phases fit."""
        super().__post_init__()
        check_choice("WarmupStableDecay", "shape", self.shape, ("linear", "sqrt"))
        if self.warmup_steps + self.decay_steps > self.total_steps:
            raise ConfigError(
                f"warmup_steps = {self.warmup_steps} and decay_steps = {self.decay_steps} must fit in the "
                f"{self.total_steps} steps of the run"
            )

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        if step < self.warmup_steps:
            return self.max_lr * warmup_factor(step, self.warmup_steps)
        progress = 1 - min(1.0, max(0.0, (self.total_steps - step) / self.decay_steps))
        return _line_between(self.max_lr, self.min_lr, math.sqrt(progress) if self.shape == "sqrt" else progress)


def _line_between(start: float, end: float, progress: float) -> float:
    return start + (end - start) * progress
