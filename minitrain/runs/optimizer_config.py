"""The settings of optimizers and schedules in a run's configuration: one section for each, made from its signature.

Names, types and defaults come from the tables of ``optim/factory.py``. What stands here is where a run starts from
something else than the library does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError
from ..nn.core.module import Module
from ..nn.core.parameter import Parameter
from ..optim.factory import (
    OPTIMIZERS,
    SCHEDULERS,
    create_optimizer,
    create_scheduler,
    optimizer_settings,
    schedule_settings,
)
from ..settings.section import Section, make_section

# Where a run's default is not the library's: for one optimizer, and for every schedule that has the setting.
OPTIMIZER_DEFAULTS: dict[str, dict[str, Any]] = {
    "adamw": {"beta2": 0.99, "weight_decay": 0.1},
    "muon": {"adjust_lr_fn": "match_rms_adamw"},
    "sgd": {"momentum": 0.9},
}
SCHEDULE_DEFAULTS: dict[str, Any] = {"end_lr": 1e-4, "min_lr": 1e-4, "warmup_steps": 100}


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Section):
    """What the sections of all optimizers have; each has its optimizer's other settings too."""

    prefix: ClassVar[str] = "optimizer."
    usual: ClassVar[str] = "adamw"

    name: str
    learning_rate: float
    """the highest rate of the schedule"""

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the name of the optimizer."""
        return OPTIMIZER_CONFIGS

    def check(self) -> None:
        """Check the ranges, and that the optimizer can be made."""
        self.require_own_name()
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        ranges = OPTIMIZERS[self.name].ranges
        for setting in optimizer_settings(self.name).values():
            value = getattr(self, setting.name)
            if setting.argument in ranges and value is not None:
                limits = ranges[setting.argument]
                self.require(limits.holds(value), setting.name, limits.rule)
        create_optimizer(self, _Probe())  # knows what does not go together


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig(Section):
    """What the sections of all schedules have; each has its schedule's other settings too."""

    prefix: ClassVar[str] = "scheduler."
    usual: ClassVar[str] = "warmup_cosine"

    name: str

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the name of the schedule."""
        return SCHEDULER_CONFIGS

    def check(self) -> None:
        """Check what does not depend on the run."""
        self.require_own_name()
        self.require_at_least(0, *(vars(self).keys() & {"min_lr", "warmup_steps"}))

    def check_run(self, optimizer: OptimizerConfig, total_steps: int) -> None:
        """Raise a ``ConfigError`` unless the scheduler can be made for a run of this optimizer and length."""
        try:
            create_scheduler(self, create_optimizer(optimizer, _Probe()), total_steps)
        except ConfigError as error:
            raise ConfigError(f"scheduler={self.name} does not fit: {error}") from error


class _Probe(Module):
    """The smallest model that has something for every optimizer."""

    def __init__(self) -> None:
        self.matrix = Parameter(np.zeros((1, 1)))


OPTIMIZER_CONFIGS: dict[str, type[OptimizerConfig]] = {
    name: make_section(
        OptimizerConfig,
        f"{kind.__name__}Config",
        name,
        optimizer_settings(name),
        OPTIMIZER_DEFAULTS.get(name, {}),
        __name__,
    )
    for name, kind in OPTIMIZERS.items()
}
SCHEDULER_CONFIGS: dict[str, type[SchedulerConfig]] = {
    name: make_section(
        SchedulerConfig, f"{kind.__name__}Config", name, schedule_settings(name), SCHEDULE_DEFAULTS, __name__
    )
    for name, kind in SCHEDULERS.items()
}
SCHEDULER_CONFIGS["constant"].former = {"min_lr": None}  # older files have it, though nothing used it
AdamWConfig, WarmupCosineConfig = OPTIMIZER_CONFIGS["adamw"], SCHEDULER_CONFIGS["warmup_cosine"]
