"""``minitrain train --help GROUP``: the settings of a group, or the options to choose from."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..arguments import UsageError, did_you_mean

if TYPE_CHECKING:
    from ...settings.declared import Setting
    from ...settings.registry import Registry

GROUPS = {
    "task": "the kind of training, such as a language model or a classifier",
    "recipe": "values for many settings at once",
    "preset": "a model of a known size, with its block size",
    "model": "the model",
    "data": "the training and validation data",
    "optimizer": "how gradients become updates",
    "scheduler": "the learning rate over the steps",
    "trainer": "how long to train, in which batches, and how often to validate, save and log",
    "generation": "how texts are written: samples, translations, captions",
    "callbacks": "additions to the training, such as averages, guards and loggers",
    "loss": "the loss function, if not the model's own loss",
    "metrics": "further measures of the validation data",
    "run": "settings outside the groups: seed, run_dir, device, init_from",
}
"""The groups that ``--help`` explains."""
_OUTSIDE = "run"
_PARTS = ("callbacks", "loss", "metrics")
"""Registered parts, which are named in lists or alone."""


def groups_in_words() -> str:
    """The groups in a few lines; needs nothing but their names."""
    from ...conf import packaged_options

    lines = [f"  {name:10}  {purpose}" for name, purpose in GROUPS.items()]
    short = [f"  {name + '=':10}  {', '.join(packaged_options(name))}" for name in ("recipe", "data")]
    return "\n".join(
        [*lines, "", "options:", *short, "  task=, model=, preset=, optimizer=, scheduler=   see --help of the group"]
    )


def describe_group(group: str, settings: Sequence[str]) -> str:
    """The options of a group, and its settings with values, types, ranges and descriptions.

    Args:
        group: one of ``GROUPS``.
        settings: ``key=value`` arguments, which decide the values and the variant shown.

    Raises:
        ConfigError: if there is no such group, or an argument is wrong.
    """
    from ...runs.recipes.options import DEFAULT, config_groups
    from ...settings.table import rows
    from ..compose import compose_config
    from ..presets import presets_in_words

    if group not in GROUPS:
        raise UsageError(f"--help {group}: there is no such group{did_you_mean(group, GROUPS)} ({', '.join(GROUPS)})")
    lines = [f"{group}: {GROUPS[group]}", ""]
    if group == "task":
        return "\n".join([*lines, *_describe_tasks()])
    if group in _PARTS:
        return "\n".join([*lines, *_describe_parts(group)])
    options = config_groups().get(group, [])
    if group == "preset":
        return "\n".join([*lines, presets_in_words(), "", "choose one with preset=NAME"])
    if options and options != [DEFAULT]:
        lines += [*_wrapped(f"choose one with {group}=NAME: {', '.join(options)}", ""), ""]
    if group == "recipe":
        return "\n".join([*lines, "minitrain train recipe=NAME --show prints the values"])
    config = compose_config([*settings, *_required(group, settings)])
    section = config if group == _OUTSIDE else getattr(config, group)
    name = getattr(section, "name", None)
    lines += [f"settings of {group}={name}:" if name else "settings:", ""]
    for row in rows(section, "" if group == _OUTSIDE else f"{group}."):
        lines += _entry(row)
    return "\n".join(lines)


def _describe_parts(group: str) -> list[str]:
    """Everything that is registered, the user's own too, with the settings of each."""
    from ...settings.declared import REQUIRED
    from ...settings.table import as_yaml
    from ...settings.type_check import shown
    from ...tasks.settings.objective import LOSSES, METRICS, loss_settings
    from ...training.callbacks.registry import CALLBACKS, callback_settings

    parts: dict[str, tuple[str, Registry[Any], Callable[[str], dict[str, Setting]]]] = {
        "callbacks": ("callbacks=[NAME,{name: NAME, SETTING: VALUE}], in quotes", CALLBACKS, callback_settings),
        "loss": ("loss=NAME or loss={name: NAME, SETTING: VALUE}, in quotes", LOSSES, loss_settings),
        "metrics": ("metrics=[NAME,NAME], in quotes", METRICS, lambda name: {}),
    }
    usage, registry, settings_of = parts[group]
    lines = [f"write {usage}; one of your own needs --plugin FILE", ""]
    for name in registry:
        purpose = (inspect.getdoc(registry[name]) or "").partition("\n\n")[0]
        lines += [f"  {name}", *_wrapped(" ".join(purpose.split()), "      ")]
        for one in settings_of(name).values():
            plain = one.default is None or isinstance(one.default, bool | int | float | str)
            value = as_yaml(one.default) if plain else "VALUE" if one.default is REQUIRED else shown(one.default)
            lines += _wrapped(f"{one.name}: {value}    {one.description}".rstrip(), "      ")
    return lines


def _describe_tasks() -> list[str]:
    """The tasks of a run, with the data, the model and the recipe that each begins with."""
    from ...tasks.task import TASKS

    lines = ["choose one with task=NAME, which comes with its usual recipe; your own needs --plugin FILE", ""]
    for name, task in TASKS.items():
        purpose = (inspect.getdoc(task) or "").partition(".")[0]
        lines += [f"  {name}", *_wrapped(f"{purpose}.", "      ")]
        lines += _wrapped(f"data={'|'.join(task.data_kinds)}  model={task.usual_model}", "      ")
        if task.usual_recipe:
            lines += _wrapped(f"recipe={task.usual_recipe}", "      ")
    return lines


def _required(group: str, settings: Sequence[str]) -> list[str]:
    """A path for data that needs one, so that its settings can be shown without any."""
    given = any(setting.startswith("data.path=") for setting in settings)
    return [] if given else ["data.path=PATH"] if any("=" in setting for setting in settings) else []


def _entry(row: object) -> list[str]:
    from ...settings.table import Row

    assert isinstance(row, Row)
    kind = ", ".join(part for part in (row.type, row.range) if part)
    return [f"  {row.name}={row.value}", *_wrapped(f"{row.description} ({kind})".strip(), "      ")]


def _wrapped(text: str, indent: str) -> list[str]:
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
