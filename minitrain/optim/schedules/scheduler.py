"""Schedulers: a schedule bound to the optimizer whose rate it sets.

A schedule is a pure function of the step, see ``optim/schedules``. A `Scheduler` is an object for loops that prefer
one. It sets each rate *before* the update that uses it: the rate of update 0 in the constructor, and that of every
later update in ``step``, which is called after the previous update::

    scheduler = CosineScheduler(optimizer, total_steps=1000, warmup_steps=100)
    for batch in batches:
        ...
        optimizer.step()
        scheduler.step()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...states import Whole, checked
from ..checks import NOT_NEGATIVE
from ..optimizer import Optimizer
from . import Constant, Exponential, Linear, Schedule, StepDecay, Warmup, WarmupCosine
from .drawn import Drawn


class Scheduler(Drawn):
    """Sets the rate of an optimizer to that of a schedule.

    Args:
        optimizer: gets the rate of update 0 immediately.
        schedule: gives the rate of each update by its number, from 0.

    Attributes:
        global_step: number of the update whose rate is set.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule) -> None:
        self.optimizer, self.schedule, self.global_step = optimizer, schedule, 0
        self.step(0)

    def __call__(self, step: int) -> float:
        """The rate of update number ``step``, without setting it: a scheduler can be used as a schedule."""
        return self.schedule(step)

    def step(self, global_step: int | None = None) -> float:
        """Set the rate of an update.

        Args:
            global_step: number of the update, counted from 0; by default the next one.

        Returns:
            The current rate.

        Raises:
            ConfigError: if the number is negative.
        """
        number = self.global_step + 1 if global_step is None else global_step
        NOT_NEGATIVE.check(type(self).__name__, global_step=number)
        rate = self.schedule(number)
        self.optimizer.set_lr(rate)
        self.global_step = number
        return rate

    def get_lr(self) -> float:
        """The current rate."""
        return self.optimizer.get_lr()

    def state_dict(self) -> dict[str, Any]:
        """The state: the number of the update whose rate is set."""
        return {"global_step": self.global_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that ``state_dict`` gave, and set its rate.

        Raises:
            CheckpointError: if it is not such a state.
        """
        self.step(checked("scheduler", state, {"global_step": Whole()})["global_step"])


class ConstantScheduler(Scheduler):
    """The optimizer's current rate, after an optional linear warm-up."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0) -> None:
        super().__init__(optimizer, Constant(optimizer.get_lr(), warmup_steps))


class CosineScheduler(Scheduler):
    """Linear warm-up to the optimizer's current rate, then half a cosine down to ``min_lr`` (`WarmupCosine`)."""

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0, min_lr: float = 0.0) -> None:
        super().__init__(optimizer, WarmupCosine(optimizer.get_lr(), min_lr, warmup_steps, total_steps))


class ExponentialScheduler(Scheduler):
    """The optimizer's current rate, multiplied by ``gamma`` after every update (`Exponential`)."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer, Exponential(optimizer.get_lr(), gamma))


class StepScheduler(Scheduler):
    """The optimizer's current rate, multiplied by ``gamma`` after every ``step_size`` updates (`StepDecay`)."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer, StepDecay(optimizer.get_lr(), step_size, gamma))


class WarmupDecayScheduler(Scheduler):
    """Linear warm-up to the optimizer's current rate, then a straight line down to ``min_lr`` at ``total_steps``."""

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int, min_lr: float = 0.0) -> None:
        line = Linear(optimizer.get_lr(), min_lr, total_steps - warmup_steps)
        super().__init__(optimizer, Warmup(line, warmup_steps))
