"""How settings are put together, in layers, each over the one before.

The declared defaults, the options of the groups, the recipe, the preset, the run that weights are taken from, and what
the user gives. A task has its usual recipe, data and model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ...errors import ConfigError
from ...settings.section import settings
from ...settings.tree import choose_variant, is_group
from ...tasks.task import TASKS, Task
from ..config import RunConfig
from ..weights.initial import inherited_settings
from .options import DEFAULT, config_groups, option_values

OPTIONAL = ("recipe", "preset")
"""Groups of which no option need be chosen."""
_USUAL_DATA = {"text": "pydoc"}  # an option whose name is not that of its kind
_NOT_GIVEN = "???"
_PATHS = ("data.path", "run_dir")


def layered(chosen: Mapping[str, str | None], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings below those that the user gives, as nested dictionaries, not checked yet.

    Args:
        chosen: the option of a group by the group's name; ``None`` for no recipe or no preset.
        given: what the user gives, by dotted names such as ``trainer.max_steps``. It is not among the result, but
            parts of a recipe that do not fit it are left out.

    Raises:
        ConfigError: if the settings of the run that weights are taken from are damaged.
    """
    layers = {group: option_values(group, option) for group in OPTIONAL if (option := chosen.get(group))}
    if given.get("init_from") is not None:
        layers["init_from"] = inherited_settings(given["init_from"])
    task = _one_task(layers, given)
    if "recipe" not in chosen:
        layers = {"recipe": option_values("recipe", task.usual_recipe)} | layers
    values: dict[str, Any] = {
        group: option_values(group, option) for group, option in _options(task, layers.values(), chosen, given).items()
    }
    for layer in layers.values():
        _merge(values, layer)
    values["task"] = task.name
    _drop_outdated(values, given)
    kind = layers.get("recipe", {}).get("options", {}).get("data", task.data_kinds[0])
    _drop_data_set(values["data"], kind, "recipe" in chosen, given)
    return values


def put(values: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Put settings, given by dotted names, over those of ``values``."""
    for key, value in given.items():
        group, dot, name = key.rpartition(".")
        if dot:
            values.setdefault(group, {})[name] = value
        else:
            values[key] = value


def checked(values: dict[str, Any], given: Collection[str]) -> RunConfig:
    """The configuration with these settings.

    Args:
        values: nested dictionaries.
        given: names of the settings that the user gave. Of a recipe, settings for another optimizer or schedule than
            the chosen one are left out; what the user gave is refused there.

    Raises:
        ConfigError: for whatever is wrong with a setting, or if a recipe leaves one to the user.
    """
    _refuse_gaps(values)
    return RunConfig.from_dict(_fitting(values, given))


def _one_task(layers: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> type[Task]:
    """The task that was given, or that the recipe, the preset or the initial weights are of.

    Raises:
        ConfigError: if they are of different ones.
    """
    said = {group: layer.get("task", RunConfig.task) for group, layer in layers.items()}
    if isinstance(given.get("task"), str):
        said["task"] = given["task"]
    tasks = list(dict.fromkeys(said.values()))
    if len(tasks) > 1:
        parts = " and ".join(f"{group} says task={task}" for group, task in said.items())
        raise ConfigError(f"{parts}: leave one of them out")
    return TASKS.look_up(tasks[0] if tasks else RunConfig.task)


def _options(
    task: type[Task],
    layers: Iterable[Mapping[str, Any]],
    chosen: Mapping[str, str | None],
    given: Mapping[str, Any],
) -> dict[str, str]:
    """The option of each group: what was given, else what the last of the layers says, else the task's usual one."""
    groups, said = config_groups(), dict[str, str]()
    for layer in layers:
        said |= layer.get("options", {})
    for group in groups:
        if (named := str(given.get(f"{group}.name"))) in groups[group]:
            said[group] = named
    data, model = task.usual_parts(*(chosen.get(group) or said.get(group) for group in ("data", "model")))
    of_task = {"data": _USUAL_DATA.get(data, data), "model": model}
    options = {}
    for group, one in settings(RunConfig).items():
        if is_group(one.hint):
            usual = of_task.get(group) or one.hint.usual or DEFAULT
            options[group] = chosen.get(group) or said.get(group, usual)
    return options


def _merge(values: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put the settings of ``layer`` over those of ``values``."""
    for name, value in layer.items():
        if name == "options":
            continue
        values[name] = {**values.get(name, {}), **value} if isinstance(value, Mapping) else value


def _drop_outdated(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Drop what a recipe says of the schedule if it does not fit a length or a rate that was given.

    The run then fills in values that fit.
    """
    schedule = values["scheduler"]
    steps, rate = given.get("trainer.max_steps"), given.get("optimizer.learning_rate")
    if isinstance(steps, int) and schedule.get("warmup_steps", 0) >= steps:
        del schedule["warmup_steps"]
    if isinstance(rate, int | float):
        for name in ("min_lr", "end_lr"):
            if schedule.get(name, 0.0) > rate:
                del schedule[name]


def _drop_data_set(data: dict[str, Any], of_recipe: str, chosen: bool, given: Mapping[str, Any]) -> None:
    """Drop a recipe's data set where the user gives other data: another kind, or a path to the task's usual recipe.

    With a recipe that was chosen, the path is where the files of its data set are.

    Args:
        data: the settings of the data.
        of_recipe: the kind of data of the recipe.
        chosen: whether the user chose the recipe.
        given: what the user gives, by dotted names.
    """
    other_path = not chosen and given.get("data.path") is not None
    if "data.dataset" not in given and (data.get("name") != of_recipe or other_path):
        data.pop("dataset", None)


def _refuse_gaps(values: Mapping[str, Any], prefix: str = "") -> None:
    """Raise a ``ConfigError`` for a setting that a recipe or an option leaves to the user."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _refuse_gaps(value, f"{prefix}{name}.")
        elif value == _NOT_GIVEN:
            key = f"{prefix}{name}"
            raise ConfigError(f"{key} has to be given; add {key}={'PATH' if key in _PATHS else 'VALUE'}")


def _fitting(values: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    """``values`` without the settings that a recipe has for another optimizer or schedule than the chosen one.

    What was ``given`` stays, to be refused.
    """
    for group, one in settings(RunConfig).items():
        if is_group(one.hint) and one.hint.variants():
            known = settings(choose_variant(one.hint, values[group]))
            values[group] = {
                name: value for name, value in values[group].items() if name in known or f"{group}.{name}" in given
            }
    return values
