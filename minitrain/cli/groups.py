"""The groups of settings that have options to choose from, such as ``optimizer=lion`` or ``recipe=tiny``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

PACKAGED = "minitrain.conf"
DEFAULT = "default"
"""The one option of groups that have no others."""


def config_groups() -> dict[str, list[str]]:
    """The options of each group by the group's name, e.g. ``{"model": ["gpt", "llama"], …}``."""
    from ..runs.config import RunConfig
    from ..settings.section import settings
    from ..settings.tree import is_group

    groups = {name: packaged_options(name) for name in ("data", "recipe")} | {"preset": sorted(language_presets())}
    for name, one in settings(RunConfig).items():
        if is_group(one.hint) and name not in groups:
            groups[name] = sorted(one.hint.variants()) or [DEFAULT]
    return groups


def packaged_options(group: str) -> list[str]:
    """The names of the files that the package has for a group."""
    folder = resources.files(PACKAGED) / group
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def option_values(group: str, option: str) -> dict[str, Any]:
    """What an option sets: for a recipe or a preset nested settings and ``options``, else settings of its group."""
    if group == "preset":
        return _preset(option)
    file = resources.files(PACKAGED) / group / f"{option}.yaml"
    values = _read(file) if file.is_file() else {}
    if group == "recipe":
        return {"recipe": option, **values}
    return values if "name" in values or option == DEFAULT else {"name": option, **values}


def language_presets() -> list[str]:
    """The presets of models that can be trained on a text."""
    from ..models.presets import PRESETS
    from ..runs.model_config import MODELS

    kinds = tuple(kind.config for kind in MODELS.values())
    return [name for name, config in PRESETS.items() if isinstance(config, kinds)]


def other_presets() -> list[str]:
    """The presets of all other models."""
    from ..models.presets import PRESETS

    language = language_presets()
    return [name for name in PRESETS if name not in language]


def presets_in_words() -> str:
    """All presets, for help texts: what they are for, and their names."""
    return (
        f"  language models, for train, profile and info:\n    {', '.join(language_presets())}\n"
        f"  other models, for info and for build_model() in Python:\n    {', '.join(other_presets())}"
    )


def _preset(name: str) -> dict[str, Any]:
    """The shape of a preset as settings; the vocabulary is that of the text."""
    import dataclasses

    from ..models.presets import PRESETS
    from ..runs.model_config import FROM_THE_RUN, MODELS

    shape = PRESETS[name]
    model = next(model for model, kind in MODELS.items() if type(shape) is kind.config)
    values: Mapping[str, Any] = dataclasses.asdict(shape)
    own = {key: value for key, value in values.items() if key not in FROM_THE_RUN}
    return {"options": {"model": model}, "model": own, "data": {"block_size": shape.block_size}}


def _read(file: Traversable) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values
