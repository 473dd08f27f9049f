"""Schedules in phases: up and down once, and up, along and down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...errors import ConfigError
from ..checks import NOT_NEGATIVE, POSITIVE, check_choice
from .cosine import check_order, cosine_between
from .drawn import Drawn
from .warmup import warmup_factor


@dataclass(frozen=True)
class OneCycle(Drawn):
    """Up to a high rate and down to almost none (Smith, Topin, 2018, arXiv:1708.07120).

    From ``max_lr / start_factor`` to ``max_lr``, which update ``rise * total_steps - 1`` has, then down to
    ``max_lr / start_factor / end_factor``, which the last update has.

    Attributes:
        max_lr: the highest rate.
        total_steps: number of updates.
        rise: part of them on the way up.
        start_factor: the first rate is this many times smaller than the highest.
        end_factor: the last rate is this many times smaller than the first.
        shape: half cosine waves, or straight lines.
    """

    max_lr: float
    total_steps: int
    rise: float = 0.3
    start_factor: float = 25.0
    end_factor: float = 1e4
    shape: Literal["cosine", "linear"] = "cosine"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: if one is out of range, or there are too few steps for the two phases.
        """
        NOT_NEGATIVE.check("OneCycle", max_lr=self.max_lr)
        POSITIVE.check("OneCycle", start_factor=self.start_factor, end_factor=self.end_factor)
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


@dataclass(frozen=True)
class WarmupStableDecay(Drawn):
    """Linear warm-up, a constant rate, and a short decay at the end (Hu et al., 2024, arXiv:2404.06395).

    A run can be prolonged from before its decay, since the rate does not depend on ``total_steps`` until then.

    Attributes:
        max_lr: the constant rate.
        min_lr: rate at ``total_steps`` and after.
        warmup_steps: number of warm-up updates; update ``warmup_steps`` is the first at the full rate.
        decay_steps: number of updates from the full rate down to ``min_lr``.
        total_steps: where the decay ends.
        shape: with p from 0 to 1 in the decay, what is left is 1 - p, or 1 - sqrt(p), which Hägele et al. (2024,
            arXiv:2405.18392) found to be better.
    """

    max_lr: float
    min_lr: float
    warmup_steps: int
    decay_steps: int
    total_steps: int
    shape: Literal["linear", "sqrt"] = "linear"

    def __post_init__(self) -> None:
        """Check that the phases fit.

        Raises:
            ConfigError: if they do not.
        """
        check_order(self.min_lr, self.max_lr)
        NOT_NEGATIVE.check("WarmupStableDecay", warmup_steps=self.warmup_steps)
        POSITIVE.check("WarmupStableDecay", decay_steps=self.decay_steps)
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
