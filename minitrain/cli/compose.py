"""From ``key=value`` arguments to a checked `RunConfig`: Hydra composes, the dataclasses check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ConfigError
from ..runs.config import RunConfig
from ..settings.section import Section, choose_variant, known_keys, settings
from .failures import one_line
from .groups import CONFIG_MODULE, config_groups
from .overrides import read_overrides

_PATHS = ("data.path", "run_dir")
LITERAL = (*_PATHS, "generation.prompt")
"""Settings whose value is taken as it stands, whatever signs are in it."""


def compose_config(arguments: Sequence[str]) -> RunConfig:
    """The settings of a run: the packaged defaults, changed by a recipe, changed by ``arguments``.

    Hydra only composes here: it makes no folder, configures no logging, and changes no directory.

    Args:
        arguments: ``key=value`` (a setting, ``trainer.max_steps=100``) or ``group=option`` (``recipe=tiny``).

    Raises:
        ConfigError: for whatever is wrong with them, in terms of the settings.
    """
    overrides = read_overrides(arguments, groups=config_groups(), settings=known_keys(RunConfig), literal=LITERAL)
    typed = {argument.partition("=")[0] for argument in arguments}
    return RunConfig.from_dict(_fitting(_compose(overrides), typed))


def _fitting(values: Any, typed: set[str]) -> Any:
    """``values`` without the settings that a recipe has for another optimizer or schedule than the chosen one.

    What was ``typed`` stays, to be refused.
    """
    for group, hint in settings(RunConfig).items():
        if isinstance(hint, type) and issubclass(hint, Section) and hint.variants():
            known = settings(choose_variant(hint, values[group]))
            values[group] = {
                name: value for name, value in values[group].items() if name in known or f"{group}.{name}" in typed
            }
    return values


def _compose(overrides: list[str]) -> Any:
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    try:
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            composed = compose("config", overrides=[_for_hydra(override) for override in overrides])
        return OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        what = "PATH" if error.full_key in _PATHS else "VALUE"
        raise ConfigError(f"{error.full_key} has to be given; add {error.full_key}={what}") from error
    except HydraException as error:
        raise ConfigError(_in_words(overrides, error)) from error
    except OmegaConfBaseException as error:
        reason = one_line(str(error.msg)).partition(" full_key:")[0]
        raise ConfigError(f"{error.full_key}: {reason}") from error


def _for_hydra(override: str) -> str:
    """An override of a setting with ++: its group's file need not have it, the dataclasses know what there is."""
    return override if override.partition("=")[0] in config_groups() else f"++{override}"


def _in_words(overrides: list[str], error: Exception) -> str:
    """What Hydra's grammar did not like, found by trying each override alone."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for override in overrides:
        try:
            if not parser.parse_override(override).is_sweep_override():
                continue
            reason = "it gives several values, which --multirun takes"
        except HydraException as problem:
            reason = str(problem).splitlines()[0]
        kinds = "a number, true, false, null, a plain word, or a list in brackets"
        return f"cannot read {override} ({reason}): a value is {kinds}"
    return one_line(str(error))
