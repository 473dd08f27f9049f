"""Optimizers and schedulers from a configuration: a name, and settings that are checked.

To offer a new one, add a line to its table: names, types and defaults are read from its signature.
"""

from __future__ import annotations

import math
from typing import Any, overload

from ..errors import ConfigError
from ..nn.core.module import Module
from ..settings.declared import REQUIRED, Setting, arguments, look_up, read_config, settings_of
from .optimizer import Optimizer
from .rules.adafactor import Adafactor
from .rules.adagrad import Adagrad
from .rules.adam import Adam
from .rules.adamw import AdamW
from .rules.lion import Lion
from .rules.muon import Muon
from .rules.nadam import NAdam
from .rules.rmsprop import RMSprop
from .rules.sgd import SGD
from .schedules import (
    Constant,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Polynomial,
    Schedule,
    StepDecay,
    Warmup,
    WarmupCosine,
    WarmupStableDecay,
)
from .schedules.plateau import ReduceOnPlateau
from .schedules.scheduler import Scheduler

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adafactor": Adafactor,
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "lion": Lion,
    "muon": Muon,
    "nadam": NAdam,
    "rmsprop": RMSprop,
    "sgd": SGD,
}
SCHEDULES: dict[str, type[Any]] = {
    "constant": Constant,
    "cosine_restarts": CosineRestarts,
    "exponential": Exponential,
    "inverse_sqrt": InverseSqrt,
    "linear": Linear,
    "multi_step": MultiStep,
    "one_cycle": OneCycle,
    "polynomial": Polynomial,
    "step": StepDecay,
    "warmup_cosine": WarmupCosine,
    "warmup_stable_decay": WarmupStableDecay,
}
PLATEAU = "reduce_on_plateau"
SCHEDULERS = {**SCHEDULES, PLATEAU: ReduceOnPlateau}  # which follows a metric, not the step

WITHOUT_WARMUP = {"one_cycle", PLATEAU}
FROM_THE_RUN = ("lr", "max_lr", "optimizer", "total_steps")
# What schedules ask for and a configuration may leave out.
DEFAULTS = {"end_lr": 0.0, "gamma": 0.999, "min_lr": 0.0, "warmup_steps": 0}
# Lengths that are left out are these parts of the steps that follow the warm-up.
PARTS: dict[str, float | tuple[float, ...]] = {
    "cycle_steps": 0.25,
    "decay_steps": 0.2,
    "milestones": (0.5, 0.75),
    "step_size": 0.25,
}


def optimizer_settings(name: str) -> dict[str, Setting]:
    """The settings of an optimizer of ``OPTIMIZERS``."""
    return settings_of(OPTIMIZERS[name], without=("model",))


def schedule_settings(name: str) -> dict[str, Setting]:
    """The settings of a scheduler of ``SCHEDULERS``; a warm-up before it is one of them."""
    settings = settings_of(SCHEDULERS[name], without=FROM_THE_RUN)
    if name not in WITHOUT_WARMUP:
        settings.setdefault("warmup_steps", Setting("warmup_steps", int, 0, "warmup_steps", None))
    for key, setting in settings.items():
        if key in PARTS:
            settings[key] = setting._replace(hint=setting.hint | None, default=None)
        elif setting.default is REQUIRED:
            settings[key] = setting._replace(default=DEFAULTS.get(key, REQUIRED))
    return settings


def create_optimizer(config: Any, model: Module) -> Optimizer:
    """The optimizer that a configuration names, for the trainable parameters of a model.

    Args:
        config: a mapping, such as a dictionary or Hydra's, or a dataclass: ``name``, one of ``OPTIMIZERS``, and its
            settings by the names that they have in ``minitrain train`` (``learning_rate``, ``beta1``) or in its
            constructor (``lr``, ``betas``).
        model: the model, packed already if it is to be.

    Raises:
        ConfigError: for an unknown name or setting (names the nearest valid one), a wrong type, or a value out of
            range.

    Example:
        >>> create_optimizer({"name": "lion", "learning_rate": 1e-4, "beta2": 0.98}, model)  # doctest: +SKIP
    """
    values = read_config(config, "optimizer")
    name = values.pop("name")
    kind = look_up("optimizer", name, OPTIMIZERS)
    return kind(model, **arguments(f"optimizer {name}", optimizer_settings(name), values))  # type: ignore[no-any-return]


@overload
def create_scheduler(config: Any, optimizer_or_lr: Optimizer, total_steps: int) -> Scheduler | ReduceOnPlateau: ...


@overload
def create_scheduler(config: Any, optimizer_or_lr: float, total_steps: int) -> Schedule: ...


def create_scheduler(
    config: Any, optimizer_or_lr: Optimizer | float, total_steps: int
) -> Scheduler | ReduceOnPlateau | Schedule:
    """The scheduler that a configuration names.

    Args:
        config: a mapping or a dataclass: ``name``, one of ``SCHEDULERS``, and its settings.
        optimizer_or_lr: an optimizer, whose present rate is the highest of the schedule, or that rate alone.
        total_steps: number of updates of the run.

    Returns:
        A `Scheduler` or `ReduceOnPlateau` over the optimizer; the schedule alone if only a rate is given.

    Raises:
        ConfigError: for an unknown name or setting (names the nearest valid one), a wrong type, a value out of range,
            or phases that do not fit in the run.
    """
    values = read_config(config, "scheduler")
    name = values.pop("name")
    if name == PLATEAU:
        if not isinstance(optimizer_or_lr, Optimizer):
            raise ConfigError(f"scheduler {PLATEAU}: it lowers the rate of an optimizer; give that, not a rate")
        return ReduceOnPlateau(optimizer_or_lr, **arguments(f"scheduler {name}", schedule_settings(name), values))
    look_up("scheduler", name, SCHEDULERS)
    if isinstance(optimizer_or_lr, Optimizer):
        return Scheduler(optimizer_or_lr, _create_schedule(name, values, optimizer_or_lr.get_lr(), total_steps))
    return _create_schedule(name, values, optimizer_or_lr, total_steps)


def _create_schedule(name: str, values: dict[str, Any], lr: float, total_steps: int) -> Schedule:
    settings, kind = schedule_settings(name), SCHEDULES[name]
    given = arguments(f"scheduler {name}", settings, values)
    own = settings_of(kind)
    warmup = 0 if "warmup_steps" in own else given.pop("warmup_steps", 0)  # its own, or one that is put before it
    steps = total_steps - warmup
    if warmup and steps < 1:
        raise ConfigError(
            f"scheduler {name}: warmup_steps = {warmup} must be less than the {total_steps} steps of the run"
        )
    for key in PARTS.keys() & given.keys():
        if given[key] is None:
            given[key] = _lengths(PARTS[key], steps - given.get("warmup_steps", 0))
    for argument, value in (("lr", lr), ("max_lr", lr), ("total_steps", steps)):
        if argument in {setting.argument for setting in own.values()}:
            given[argument] = value
    schedule: Schedule = kind(**given)
    return Warmup(schedule, warmup) if warmup else schedule


def _lengths(parts: float | tuple[float, ...], steps: int) -> int | tuple[int, ...]:
    """Parts of ``steps``, rounded up: the last of the equal parts is not followed by one more step or two."""
    if isinstance(parts, tuple):
        return tuple(sorted({max(1, math.ceil(part * steps)) for part in parts}))
    return max(1, math.ceil(parts * steps))
