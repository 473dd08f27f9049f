"""The settings of optimizers and schedules in a run's configuration: one section for each of them.

Names, types, defaults and ranges are those of their own signatures. Some values of a schedule follow from the run if
they are not given: the length of the warm-up and the lowest rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import ConfigError
from ..nn.core.module import Module
from ..nn.core.parameter import Parameter
from ..optim.factory import create_optimizer, create_scheduler, optimizer_settings, schedule_settings
from ..optim.registry import OPTIMIZERS, SCHEDULERS
from ..settings.ranges import Range
from ..settings.registry import Sections
from ..settings.section import Section, make_section, setting

LONGEST_WARMUP, WARMUP_SHARE, LOWEST_RATE = 100, 10, 10
NULL_MEANS = {
    "warmup_steps": f"null is a tenth of the run, at most {LONGEST_WARMUP} steps",
    "min_lr": "null is a tenth of optimizer.learning_rate",
    "end_lr": "null is a tenth of optimizer.learning_rate",
}
"""Settings of schedules that a run fills in, and how."""
_BEFORE = "Steps before the schedule in which the rate rises to its highest value"  # of a warm-up put before it


class OptimizerConfig(Section):
    """The base of the sections of all optimizers; each has the settings of its optimizer too."""

    prefix: ClassVar[str] = "optimizer."
    usual: ClassVar[str] = "adamw"

    name: str = setting(description="Which optimizer it is.")
    learning_rate: float = setting(description="The highest learning rate of the schedule.", above=0)

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the name of the optimizer."""
        return OPTIMIZER_CONFIGS

    def check(self) -> None:
        """Check that the optimizer can be made."""
        self.require_own_name()
        create_optimizer(self, _Probe())  # knows which settings fit each other


class SchedulerConfig(Section):
    """The base of the sections of all schedules; each has the settings of its schedule too."""

    prefix: ClassVar[str] = "scheduler."
    usual: ClassVar[str] = "warmup_cosine"

    name: str = setting(description="Which schedule it is.")

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections by the name of the schedule."""
        return SCHEDULER_CONFIGS

    def check(self) -> None:
        """Check that the name is that of this section."""
        self.require_own_name()

    def for_run(self, learning_rate: float, total_steps: int) -> dict[str, Any]:
        """The settings for a run of this highest rate and length, with the values that null stands for."""
        values = self.to_dict()
        filled = {
            "warmup_steps": min(LONGEST_WARMUP, max(total_steps // WARMUP_SHARE, 1), total_steps - 1),
            "min_lr": learning_rate / LOWEST_RATE,
            "end_lr": learning_rate / LOWEST_RATE,
        }
        return {name: filled[name] if value is None and name in filled else value for name, value in values.items()}

    def check_run(self, optimizer: OptimizerConfig, total_steps: int) -> None:
        """Check that the schedule can be made for a run of this optimizer and length.

        Raises:
            ConfigError: if its settings do not fit the run.
        """
        values = self.for_run(optimizer.learning_rate, total_steps)
        if (warmup := values.get("warmup_steps", 0)) >= total_steps:
            raise ConfigError(
                f"scheduler.warmup_steps ({warmup}) must be below trainer.max_steps ({total_steps}); for so short a "
                f"run set scheduler.warmup_steps={total_steps // WARMUP_SHARE}, or null"
            )
        if (low := values.get("min_lr", 0.0)) > optimizer.learning_rate:
            raise ConfigError(
                f"scheduler.min_lr ({low}) must be at most optimizer.learning_rate ({optimizer.learning_rate})"
            )
        try:
            create_scheduler(values, create_optimizer(optimizer, _Probe()), total_steps)
        except ConfigError as error:
            raise ConfigError(f"scheduler={self.name} does not fit: {error}") from error


class _Probe(Module):
    """The smallest model that every optimizer accepts."""

    def __init__(self) -> None:
        self.matrix = Parameter(np.zeros((1, 1)))


def _optimizer_section(name: str) -> type[OptimizerConfig]:
    """The section of a registered optimizer, with its ranges."""
    kind = OPTIMIZERS.look_up(name)
    own = optimizer_settings(name)
    own = {key: one._replace(range=kind.ranges.get(one.argument, one.range)) for key, one in own.items()}
    return make_section(OptimizerConfig, f"{kind.__name__}Config", name, own, {}, __name__)


def _scheduler_section(name: str) -> type[SchedulerConfig]:
    """The section of a registered schedule; what a run fills in says so."""
    own = schedule_settings(name)
    for key, meaning in NULL_MEANS.items():
        if key in own:
            description = f"{own[key].description.rstrip('.') or _BEFORE}; {meaning}."
            own[key] = own[key]._replace(description=description, range=Range(at_least=0))
    title = f"{SCHEDULERS.look_up(name).__name__}Config"
    return make_section(SchedulerConfig, title, name, own, dict.fromkeys(NULL_MEANS), __name__)


OPTIMIZER_CONFIGS = Sections(OPTIMIZERS, _optimizer_section)
SCHEDULER_CONFIGS = Sections(SCHEDULERS, _scheduler_section)
SCHEDULER_CONFIGS["constant"].former = {"min_lr": None}  # older files have it, although nothing used it
AdamWConfig = OPTIMIZER_CONFIGS["adamw"]
"""The section of AdamW: the settings of `minitrain.optim.AdamW`."""
WarmupCosineConfig = SCHEDULER_CONFIGS["warmup_cosine"]
"""The section of the schedule `minitrain.optim.WarmupCosine`."""
