"""A recipe in Python: the settings that ``minitrain train recipe=NAME`` would train with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError
from ...settings.section import settings
from ...settings.tree import is_group
from ...settings.type_check import describe
from ..config import RunConfig
from .layers import checked, layered, put
from .options import check_option, config_groups


def recipe(name: str = "pydoc", /, **changes: Any) -> RunConfig:
    """The settings of a packaged recipe, with changes, as ``minitrain train recipe=NAME`` composes them.

    What a recipe says of an optimizer, a schedule, a model or data does not apply where another one is chosen.

    Args:
        name: ``"pydoc"``, ``"shakespeare_char"``, ``"shakespeare_fast"`` or ``"tiny"``.
        changes: what differs from the recipe. A group takes a dictionary of its settings, such as
            ``trainer={"max_steps": 100}``, or the name of an option, such as ``model="llama"``; a dictionary may have
            that as ``"name"``. ``preset="gpt-nano"`` takes the shape of a known model. Anything else is a setting of
            its own, such as ``seed=1`` or ``run_dir="runs/first"``.

    Returns:
        The configuration, for `start_run`.

    Raises:
        ConfigError: for an unknown recipe, option or setting (names the nearest one), a value of the wrong type or out
            of range, or if the recipe needs a setting that is not given, such as the text of ``shakespeare_char``.

    Example:
        >>> config = recipe("tiny", data={"path": "fables.txt"}, trainer={"max_steps": 20}, optimizer="lion")
        >>> config.trainer.max_steps, config.trainer.batch_size, config.optimizer.name
        (20, 8, 'lion')
    """
    if "recipe" in changes:
        raise ConfigError("recipe: give the name of the recipe as the first argument alone")
    options = config_groups()
    check_option("recipe", name, options["recipe"])
    chosen: dict[str, str | None] = {"recipe": name}
    given: dict[str, Any] = {}
    declared = settings(RunConfig)
    for key, value in changes.items():
        if key in options and isinstance(value, str):
            check_option(key, value, options[key])
            chosen[key] = value
        elif key == "preset":
            raise ConfigError(f"preset must be one of {', '.join(options[key])}, got {describe(value)}")
        elif key in declared and is_group(declared[key].hint):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{key} must be a dictionary of settings or the name of an option, got {describe(value)}; to put a "
                    f"whole section there, use dataclasses.replace(recipe({name!r}), {key}=...)"
                )
            given |= {f"{key}.{setting}": inner for setting, inner in value.items()}
        else:
            given[key] = value
    values = layered(chosen, given)
    put(values, given)
    return checked(values, given.keys())
