"""Optimizers and schedulers from a configuration: a name, and settings that are checked.

`registry` has the names. The settings, their types and their defaults are those of the constructors.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any, overload

from ..errors import ConfigError
from ..nn.core.module import Module
from ..settings.declared import Setting, arguments, read_config, settings_of
from .optimizer import Optimizer
from .registry import OPTIMIZERS, SCHEDULERS
from .schedules import Schedule, Warmup
from .schedules.plateau import ReduceOnPlateau
from .schedules.scheduler import Scheduler

FROM_THE_RUN = ("lr", "max_lr", "optimizer", "total_steps")
"""Arguments of schedules that the run provides: its rate, its optimizer, and its length."""


def optimizer_settings(name: str) -> dict[str, Setting]:
    """The settings of a registered optimizer."""
    return settings_of(OPTIMIZERS.look_up(name), without=("model",))


def schedule_settings(name: str) -> dict[str, Setting]:
    """The settings of a registered scheduler, including a linear warm-up before it unless it has its own rise."""
    kind = SCHEDULERS.look_up(name)
    settings = settings_of(kind, without=FROM_THE_RUN)
    if not getattr(kind, "rises", False) and not follows_metric(kind):
        settings.setdefault("warmup_steps", Setting("warmup_steps", int, 0, "warmup_steps", None))
    for key in _run_parts(kind):
        settings[key] = settings[key]._replace(hint=settings[key].hint | None, default=None)
    return settings


def follows_metric(kind: Any) -> bool:
    """Whether a scheduler acts on an optimizer, such as `ReduceOnPlateau`, instead of being a function of the step."""
    return "optimizer" in inspect.signature(kind).parameters


def create_optimizer(config: Any, model: Module) -> Optimizer:
    """The optimizer that a configuration names, for the trainable parameters of a model.

    Args:
        config: a mapping, such as a dictionary or Hydra's, or a dataclass. It has ``name``, that of a registered
            optimizer, and settings by their names in ``minitrain train`` (``learning_rate``, ``beta1``) or in the
            constructor (``lr``, ``betas``).
        model: the model; pack it first if at all.

    Raises:
        ConfigError: for an unknown name or setting (the message names the nearest valid one), a wrong type, or a value
            out of range.

    Example:
        >>> create_optimizer({"name": "lion", "learning_rate": 1e-4, "beta2": 0.98}, model)  # doctest: +SKIP
    """
    values = read_config(config, "optimizer")
    name = values.pop("name")
    return OPTIMIZERS.look_up(name)(model, **arguments(f"optimizer {name}", optimizer_settings(name), values))


@overload
def create_scheduler(config: Any, optimizer_or_lr: Optimizer, total_steps: int) -> Scheduler | ReduceOnPlateau: ...


@overload
def create_scheduler(config: Any, optimizer_or_lr: float, total_steps: int) -> Schedule: ...


def create_scheduler(
    config: Any, optimizer_or_lr: Optimizer | float, total_steps: int
) -> Scheduler | ReduceOnPlateau | Schedule:
    """The scheduler that a configuration names.

    Args:
        config: a mapping or a dataclass with ``name``, that of a registered schedule, and its settings.
        optimizer_or_lr: an optimizer, whose current rate is the highest of the schedule, or that rate alone.
        total_steps: number of updates of the run.

    Returns:
        A `Scheduler` or `ReduceOnPlateau` for the optimizer; the schedule alone if only a rate is given.

    Raises:
        ConfigError: for an unknown name or setting (the message names the nearest valid one), a wrong type, a value out
            of range, or phases that do not fit in the run.
    """
    values = read_config(config, "scheduler")
    name = values.pop("name")
    kind = SCHEDULERS.look_up(name)
    if follows_metric(kind):
        if not isinstance(optimizer_or_lr, Optimizer):
            raise ConfigError(f"scheduler {name}: it lowers the rate of an optimizer; give the optimizer, not a rate")
        made: ReduceOnPlateau = kind(
            optimizer=optimizer_or_lr, **arguments(f"scheduler {name}", schedule_settings(name), values)
        )
        return made
    if isinstance(optimizer_or_lr, Optimizer):
        return Scheduler(optimizer_or_lr, _create_schedule(name, values, optimizer_or_lr.get_lr(), total_steps))
    return _create_schedule(name, values, optimizer_or_lr, total_steps)


def _create_schedule(name: str, values: dict[str, Any], lr: float, total_steps: int) -> Schedule:
    settings, kind = schedule_settings(name), SCHEDULERS.look_up(name)
    given = arguments(f"scheduler {name}", settings, values)
    own = settings_of(kind)
    warmup = 0 if "warmup_steps" in own else given.pop("warmup_steps", 0)  # its own, or one before it
    steps = total_steps - warmup
    if warmup and steps < 1:
        raise ConfigError(
            f"scheduler {name}: warmup_steps = {warmup} must be less than the {total_steps} steps of the run"
        )
    for key, parts in _run_parts(kind).items():
        if given[key] is None:
            given[key] = _lengths(parts, steps - given.get("warmup_steps", 0))
    for argument, value in (("lr", lr), ("max_lr", lr), ("total_steps", steps)):
        if argument in {setting.argument for setting in own.values()}:
            given[argument] = value
    schedule: Schedule = kind(**given)
    return Warmup(schedule, warmup) if warmup else schedule


def _run_parts(kind: Any) -> Mapping[str, float | tuple[float, ...]]:
    """See ``Drawn``; a user's own schedule need not have it."""
    return getattr(kind, "run_parts", {})


def _lengths(parts: float | tuple[float, ...], steps: int) -> int | tuple[int, ...]:
    """Parts of ``steps``, rounded up, so that equal parts cover all steps."""
    if isinstance(parts, tuple):
        return tuple(sorted({max(1, math.ceil(part * steps)) for part in parts}))
    return max(1, math.ceil(parts * steps))
