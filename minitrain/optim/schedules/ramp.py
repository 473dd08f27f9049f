"""Schedules that follow a power of the step: straight lines, polynomials, the inverse square root."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..checks import POSITIVE, Range
from ..registry import register_schedule
from .drawn import Drawn


@register_schedule("linear")
@dataclass(frozen=True)
class Linear(Drawn):
    """A straight line from one rate to another: ``lr + (end_lr - lr) * min(1, step / total_steps)``.

    Attributes:
        lr: rate of the first update.
        end_lr: rate at ``total_steps`` and after.
        total_steps: length of the line; must be given.
    """

    lr: float
    end_lr: float = 0.0
    total_steps: int = 0

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        return self.lr + (self.end_lr - self.lr) * min(1.0, step / self.total_steps)


@register_schedule("polynomial")
@dataclass(frozen=True)
class Polynomial(Drawn):
    """A power of the remaining steps: ``end_lr + (lr - end_lr) * (1 - min(1, step / total_steps))^power``.

    Attributes:
        lr: rate of the first update.
        total_steps: where it ends.
        power: 1 for a straight line, 2 for a parabola that flattens towards the end.
        end_lr: rate at ``total_steps`` and after.
    """

    lr: float
    total_steps: int
    power: float = 1.0
    end_lr: float = 0.0

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        left = 1 - min(1.0, step / self.total_steps)
        return self.end_lr + (self.lr - self.end_lr) * math.pow(left, self.power)


@register_schedule("inverse_sqrt")
@dataclass(frozen=True)
class InverseSqrt(Drawn):
    """Linear warm-up, then decay with the inverse square root of the step (Vaswani et al., 2017, arXiv:1706.03762).

    With t = step + 1 the rate is ``max_lr * min(t / warmup_steps, sqrt(warmup_steps / t))``.

    Attributes:
        max_lr: the highest rate, at t = ``warmup_steps``.
        warmup_steps: number of warm-up updates, 1 or more; 4000 in the paper.
    """

    ranges: ClassVar[Mapping[str, Range]] = {**Drawn.ranges, "warmup_steps": POSITIVE}

    max_lr: float
    warmup_steps: int = 4000

    @classmethod
    def noam(cls, width: int, warmup_steps: int, scale: float = 1.0) -> InverseSqrt:
        """The paper's settings: the rate is ``scale * width^-0.5 * min(t^-0.5, t * warmup_steps^-1.5)``.

        Args:
            width: width C of the model.
            warmup_steps: number of warm-up updates.
            scale: factor of the rate.

        Raises:
            ConfigError: if one is out of range.
        """
        POSITIVE.check("InverseSqrt", width=width, warmup_steps=warmup_steps)
        return cls(scale / math.sqrt(width * warmup_steps), warmup_steps)

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``."""
        t = step + 1
        return self.max_lr * min(t / self.warmup_steps, math.sqrt(self.warmup_steps / t))
