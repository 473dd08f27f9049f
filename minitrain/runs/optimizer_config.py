"""The settings of optimizers and schedules in a run's configuration: one section for each, made from its signature.

Names come from ``optim/registry.py``, types and defaults from the constructors. The tables below list where a run's
default differs from the library's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..errors import ConfigError
from ..nn.core.module import Module
from ..nn.core.parameter import Parameter
from ..optim.factory import create_optimizer, create_scheduler, optimizer_settings, schedule_settings
from ..optim.registry import OPTIMIZERS, SCHEDULERS
from ..settings.registry import Registry
from ..settings.section import Section, make_section

S = TypeVar("S", bound=Section)

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
        ranges = OPTIMIZERS.look_up(self.name).ranges
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


class _Sections(Mapping[str, type[S]]):
    """The sections of all registered names. Each is made when it is asked for: names may be registered at any time.

    Args:
        registry: the names.
        make: makes the section of a name.
    """

    def __init__(self, registry: Registry[Any], make: Callable[[str], type[S]]) -> None:
        self._registry, self._make = registry, functools.cache(make)

    def __getitem__(self, name: str) -> type[S]:
        if name not in self._registry:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)


def _optimizer_section(name: str) -> type[OptimizerConfig]:
    title, defaults = f"{OPTIMIZERS.look_up(name).__name__}Config", OPTIMIZER_DEFAULTS.get(name, {})
    return make_section(OptimizerConfig, title, name, optimizer_settings(name), defaults, __name__)


def _scheduler_section(name: str) -> type[SchedulerConfig]:
    title = f"{SCHEDULERS.look_up(name).__name__}Config"
    return make_section(SchedulerConfig, title, name, schedule_settings(name), SCHEDULE_DEFAULTS, __name__)


OPTIMIZER_CONFIGS = _Sections(OPTIMIZERS, _optimizer_section)
SCHEDULER_CONFIGS = _Sections(SCHEDULERS, _scheduler_section)
SCHEDULER_CONFIGS["constant"].former = {"min_lr": None}  # older files have it, though nothing used it
AdamWConfig = OPTIMIZER_CONFIGS["adamw"]
"""The section of AdamW: the settings of `minitrain.optim.AdamW`."""
WarmupCosineConfig = SCHEDULER_CONFIGS["warmup_cosine"]
"""The section of the schedule `minitrain.optim.WarmupCosine`."""
