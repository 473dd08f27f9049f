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
from ..config import RunConfig
from ..model_config import FROM_THE_RUN, MODELS

DEFAULT = "default"
"""The one option of groups that have no others."""


def config_groups() -> dict[str, list[str]]:
    """The options of each group by the group's name, e.g. ``{"model": ["gpt", "llama"], …}``."""
    groups = {name: packaged_options(name) for name in ("data", "recipe")} | {"preset": sorted(language_presets())}
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
    """What an option sets: for a recipe or a preset nested settings and ``options``, else settings of its group."""
    if group == "preset":
        return _preset(option)
    values = packaged_values(group, option)
    if group == "recipe":
        return {"recipe": option, **values}
    return values if "name" in values or option == DEFAULT else {"name": option, **values}


def language_presets() -> list[str]:
    """The presets of models that can be trained on a text."""
    kinds = tuple(kind.config for kind in MODELS.values())
    return [name for name, config in PRESETS.items() if isinstance(config, kinds)]


def _preset(name: str) -> dict[str, Any]:
    """The shape of a preset as settings; the vocabulary is that of the text."""
    shape = PRESETS[name]
    model = next(model for model, kind in MODELS.items() if type(shape) is kind.config)
    values: Mapping[str, Any] = dataclasses.asdict(shape)
    own = {key: value for key, value in values.items() if key not in FROM_THE_RUN}
    return {"options": {"model": model}, "model": own, "data": {"block_size": shape.block_size}}
