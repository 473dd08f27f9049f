"""The groups of settings that have options to choose from, such as ``optimizer=lion`` or ``recipe=tiny``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ...conf import packaged_options, packaged_values
from ...errors import ConfigError, did_you_mean
from ...models.presets import PRESETS
from ...settings.section import settings
from ...settings.tree import is_group
from ...tasks.settings.data import DATA
from ...tasks.settings.model import MODELS
from ..config import RunConfig

DEFAULT = "default"
"""The one option of groups that have no others."""


def config_groups() -> dict[str, list[str]]:
    """The options of each group by the group's name, e.g. ``{"model": ["gpt", "llama"], …}``."""
    groups = {"recipe": packaged_options("recipe"), "preset": sorted(trained_presets())}
    groups["data"] = sorted({*packaged_options("data"), *DATA} - {"text"})  # a text is an option `files` or `pydoc`
    for name, one in settings(RunConfig).items():
        if is_group(one.hint) and name not in groups:
            groups[name] = sorted(one.hint.variants()) or [DEFAULT]
    return groups


def check_option(group: str, option: object, options: Sequence[str]) -> None:
    """Raise a ``ConfigError`` if ``option`` is not one of a group's ``options``; it names the nearest one."""
    if option not in options:
        hint = did_you_mean(str(option), options)
        raise ConfigError(f"{group}={option!r:.200} is unknown; {hint}known: {', '.join(options)}")


def option_values(group: str, option: str) -> dict[str, Any]:
    """The settings of an option: nested ones and ``options`` of a recipe or a preset, else those of its group."""
    if group == "preset":
        return _preset(option)
    values = packaged_values(group, option)
    if group == "recipe":
        return {"recipe": option, **values}
    return values if "name" in values or option == DEFAULT else {"name": option, **values}


def trained_presets() -> list[str]:
    """The presets of models that a run can train."""
    kinds = tuple(kind.config for kind in MODELS.values())
    return [name for name, config in PRESETS.items() if isinstance(config, kinds)]


def language_presets() -> list[str]:
    """Those of them that are language models."""
    kinds = tuple(kind.config for kind in MODELS.values() if kind.task == "language_model")
    return [name for name in trained_presets() if isinstance(PRESETS[name], kinds)]


def _preset(name: str) -> dict[str, Any]:
    """The shape of a preset as settings; what comes from the data, such as the vocabulary, is left out."""
    shape = PRESETS[name]
    model, kind = next((model, kind) for model, kind in MODELS.items() if type(shape) is kind.config)
    values: Mapping[str, Any] = dataclasses.asdict(shape)
    own = {key: value for key, value in values.items() if key not in kind.from_run}
    length = {"block_size": shape.block_size} if "block_size" in kind.from_run else {}
    return {"task": kind.task, "options": {"model": model}, "model": own, "data": length}
