"""From ``key=value`` arguments to a checked `RunConfig`.

The layers, each over the one before: the declared defaults, the options of the groups, the recipe, the preset, the run
that weights are taken from, and what the user typed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..formats import one_line
from ..runs.config import RunConfig
from ..runs.weights.initial import inherited_settings
from ..settings.section import settings
from ..settings.tree import choose_variant, is_group
from .groups import DEFAULT, config_groups, option_values
from .options.overrides import LITERAL as LITERAL
from .options.overrides import OPTIONAL, read_overrides

_USUAL: dict[str, Any] = {"recipe": "pydoc", "data": "pydoc"}
_NOT_GIVEN = "???"
_PATHS = ("data.path", "run_dir")


def compose_config(arguments: Sequence[str]) -> RunConfig:
    """The settings of a run: the declared defaults, changed by a recipe, changed by ``arguments``.

    Args:
        arguments: ``key=value`` (a setting, ``trainer.max_steps=100``) or ``group=option`` (``recipe=tiny``).

    Raises:
        ConfigError: for whatever is wrong with them, in terms of the settings.
    """
    groups = config_groups()
    overrides = read_overrides(arguments, groups)
    chosen = {key: value for key, value in overrides if key in groups}
    typed = {key: value for key, value in overrides if key not in groups}
    layers = [option_values(group, option) for group in OPTIONAL if (option := (_USUAL | chosen).get(group))]
    if typed.get("init_from") is not None:
        layers.append(inherited_settings(typed["init_from"]))
    values: dict[str, Any] = {
        group: option_values(group, option) for group, option in _options(layers, chosen, typed, groups).items()
    }
    for layer in layers:
        _merge(values, layer)
    _drop_outdated(values, typed)
    for key, value in typed.items():
        if not (key in LITERAL and "${" in str(value)):
            _set(values, key, value)
    values = _resolved(values)
    for key in typed.keys() & set(LITERAL):
        _set(values, key, typed[key])
    _refuse_gaps(values)
    return RunConfig.from_dict(_fitting(values, set(typed)))


def read_changes(arguments: Sequence[str]) -> dict[str, Any]:
    """Settings by their dotted names, from ``key=value`` arguments that change a run which has begun.

    Raises:
        ConfigError: for whatever is wrong with an argument.
    """
    return dict(read_overrides(arguments, config_groups())) if arguments else {}


def _options(
    layers: Sequence[Mapping[str, Any]],
    chosen: Mapping[str, str],
    typed: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """The option of each group: what was typed, else what the last of the layers says, else the usual one."""
    said: dict[str, str] = {}
    for layer in layers:
        said |= layer.get("options", {})
    options = {}
    for group, one in settings(RunConfig).items():
        if is_group(one.hint):
            usual = _USUAL.get(group) or one.hint.usual or DEFAULT
            named = str(typed.get(f"{group}.name"))
            if named in groups[group]:
                said[group] = named
            options[group] = chosen.get(group) or said.get(group, usual)
    return options


def _merge(values: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put the settings of ``layer`` over those of ``values``."""
    for name, value in layer.items():
        if name == "options":
            continue
        values[name] = {**values.get(name, {}), **value} if isinstance(value, Mapping) else value


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    group, dot, name = key.rpartition(".")
    if dot:
        values.setdefault(group, {})[name] = value
    else:
        values[key] = value


def _drop_outdated(values: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Drop what a recipe says of the schedule if it does not fit a length or a rate that was typed.

    The run then fills in values that fit.
    """
    schedule = values["scheduler"]
    steps, rate = typed.get("trainer.max_steps"), typed.get("optimizer.learning_rate")
    if isinstance(steps, int) and schedule.get("warmup_steps", 0) >= steps:
        del schedule["warmup_steps"]
    if isinstance(rate, int | float):
        for name in ("min_lr", "end_lr"):
            if schedule.get(name, 0.0) > rate:
                del schedule[name]


def _resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with references to other settings, such as ``${model.n_embd}``, replaced by their values."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved: Any = OmegaConf.to_container(OmegaConf.create(dict(values)), resolve=True)
    except OmegaConfBaseException as error:
        reason = one_line(str(error.msg)).partition(" full_key:")[0]
        raise ConfigError(f"{error.full_key}: {reason}") from error
    return dict(resolved)


def _refuse_gaps(values: Mapping[str, Any], prefix: str = "") -> None:
    """Raise a ``ConfigError`` for a setting that a recipe or an option leaves to the user."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _refuse_gaps(value, f"{prefix}{name}.")
        elif value == _NOT_GIVEN:
            key = f"{prefix}{name}"
            raise ConfigError(f"{key} has to be given; add {key}={'PATH' if key in _PATHS else 'VALUE'}")


def _fitting(values: dict[str, Any], typed: set[str]) -> dict[str, Any]:
    """``values`` without the settings that a recipe has for another optimizer or schedule than the chosen one.

    What was ``typed`` stays, to be refused.
    """
    for group, one in settings(RunConfig).items():
        if is_group(one.hint) and one.hint.variants():
            known = settings(choose_variant(one.hint, values[group]))
            values[group] = {
                name: value for name, value in values[group].items() if name in known or f"{group}.{name}" in typed
            }
    return values
