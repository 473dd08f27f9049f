"""From ``key=value`` arguments to a checked `RunConfig`.

`minitrain.runs.recipes.layers` has the layers. Typed values may refer to other settings, such as ``${model.n_embd}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..formats import one_line
from ..runs.config import RunConfig
from ..runs.recipes.layers import checked, layered, put
from ..runs.recipes.options import config_groups
from .options.overrides import LITERAL as LITERAL
from .options.overrides import read_overrides


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
    literal = {key: value for key, value in typed.items() if key in LITERAL}
    values = layered(chosen, typed)
    put(values, {key: value for key, value in typed.items() if key not in literal or "${" not in str(value)})
    values = _resolved(values)
    put(values, literal)
    return checked(values, typed.keys())


def read_changes(arguments: Sequence[str]) -> dict[str, Any]:
    """Settings by their dotted names, from ``key=value`` arguments that change a run which has begun.

    Raises:
        ConfigError: for whatever is wrong with an argument.
    """
    return dict(read_overrides(arguments, config_groups())) if arguments else {}


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
