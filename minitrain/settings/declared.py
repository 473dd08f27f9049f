"""Settings that are read from the class they configure: an optimizer, a schedule, a callback, a model.

The class's signature has their names, types and defaults, its docstring their descriptions. A configuration spells two
kinds of them differently: ``lr`` is ``learning_rate``, and a tuple of numbers has one entry for each, so ``betas`` is
``beta1`` and ``beta2``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from ..errors import ConfigError, did_you_mean, nearest
from .ranges import ANY, Limits
from .type_check import check_type, describe, shown

SPELLING = {"lr": "learning_rate"}
SINGULAR = {"betas": "beta", "adamw_betas": "adamw_beta"}
REQUIRED = inspect.Parameter.empty


class Setting(NamedTuple):
    """One entry of a configuration.

    Attributes:
        name: its name in configurations.
        hint: its type.
        default: ``REQUIRED`` if there is none.
        argument: its name in the class's constructor.
        element: which number it is, if the argument is a tuple of numbers.
        description: its purpose, in a sentence.
        range: the values that it may have.
        python_only: whether configurations leave it out.
    """

    name: str
    hint: Any
    default: Any
    argument: str
    element: int | None = None
    description: str = ""
    range: Limits = ANY
    python_only: bool = False


def settings_of(constructor: Callable[..., Any], *, without: Collection[str] = ()) -> dict[str, Setting]:
    """The settings of a class by name, ``without`` the arguments that somebody else gives."""
    told = descriptions(constructor)
    initialiser: Any = constructor.__init__ if inspect.isclass(constructor) else constructor
    hints = typing.get_type_hints(initialiser)
    found = []
    for argument, parameter in inspect.signature(constructor).parameters.items():
        if argument in without or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = parameter.default
        hint = hints[argument] if argument in hints else _hint_of(default)
        elements = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
        if elements and Ellipsis not in elements:
            stem = SINGULAR.get(argument, argument)
            for i, kind in enumerate(elements):
                found.append(Setting(f"{stem}{i + 1}", kind, default[i], argument, i, told.get(argument, "")))
        else:
            name = SPELLING.get(argument, argument)
            found.append(Setting(name, hint, default, argument, description=told.get(argument, "")))
    return {setting.name: setting for setting in found}


def _hint_of(default: Any) -> Any:
    """The type of an argument without an annotation, by its default; an integer may stand for any number."""
    if isinstance(default, tuple) and default:
        return tuple[tuple(map(_hint_of, default))]  # type: ignore[misc]
    kind = float if type(default) is int else type(default)
    return kind if kind in (bool, float, str) else Any


_SECTION = re.compile(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+)(?: \([^)]*\))?: ((?:.*\n(?:     +.*\n)*))", re.MULTILINE)


def descriptions(owner: Any) -> dict[str, str]:
    """The description of each argument in a Google-style docstring, as a line of plain text for users of YAML.

    A class says only what is its own: the rest is in the docstrings of its bases.
    """
    found: dict[str, str] = {}
    for kind in reversed(inspect.getmro(owner) if inspect.isclass(owner) else (owner,)):
        for section in _SECTION.findall(f"{inspect.cleandoc(kind.__doc__ or '')}\n"):
            for name, text in _ENTRY.findall(f"{section}\n"):
                line = " ".join(text.replace("``None``", "null").replace("``", "").split())
                found[name] = line[:1].upper() + line[1:]
    return found


def arguments(owner: str, settings: Mapping[str, Setting], values: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments for the ``values`` of a configuration, and the defaults of what is not among them.

    Values may also go by the constructor's own names, ``lr`` and ``betas``.

    Args:
        owner: who has the settings, for messages.
        settings: all that there are, from ``settings_of``.
        values: those that are given.

    Raises:
        ConfigError: for an unknown setting, one that is given twice or not at all though it has no default, or a
            value of the wrong type.
    """
    by_argument: dict[str, list[Setting]] = {}
    for setting in settings.values():
        by_argument.setdefault(setting.argument, []).append(setting)
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if name in settings:
            entries = {name: value}
        elif name in by_argument:
            entries = _spread(owner, name, by_argument[name], value)
        else:
            raise unknown_setting(owner, name, settings)
        for entry, number in entries.items():
            if entry in flat:
                raise ConfigError(f"{owner}: {entry} is given twice")
            check_type(f"{owner}: {entry}", number, settings[entry].hint)
            flat[entry] = tuple(number) if isinstance(number, list) else number
    if missing := [s.name for s in settings.values() if s.default is REQUIRED and s.name not in flat]:
        raise ConfigError(f"{owner}: {missing[0]} has to be given")
    result: dict[str, Any] = {}
    for argument, parts in by_argument.items():
        together = tuple(flat.get(part.name, part.default) for part in parts)
        result[argument] = together[0] if parts[0].element is None else together
    return result


def unknown_setting(owner: str, name: str, known: Collection[str]) -> ConfigError:
    """The error for a setting that ``owner`` does not have; names the nearest one."""
    near = nearest(name, known)
    hint = f"did you mean {near}? " if near else ""
    return ConfigError(f"{owner} has no setting {name}; {hint}it has {', '.join(known) or 'none'}")


def read_config(config: Any, what: str) -> dict[str, Any]:
    """The entries of a mapping (a dictionary, or OmegaConf's) or a dataclass; lists stay lists.

    Raises:
        ConfigError: if it is neither, or has no ``name``.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    elif isinstance(config, Mapping):
        values = {str(name): _plain(value) for name, value in config.items()}
    else:
        raise ConfigError(f"the {what}'s configuration must be a mapping or a dataclass, got {describe(config)}")
    if not isinstance(values.get("name"), str):
        raise ConfigError(f"the {what}'s configuration needs a name, got {describe(values.get('name'))}")
    return values


def look_up(what: str, name: str, known: Mapping[str, Any], *, advice: str = "") -> Any:
    """The entry of a table by its name.

    Args:
        what: the kind of thing, for the message.
        name: its name.
        known: the table.
        advice: more for the message.

    Raises:
        ConfigError: if it has none of this name; names the nearest one.
    """
    if name not in known:
        hint = did_you_mean(name, known)
        more = f"; {advice}" if advice else ""
        raise ConfigError(f"{what}.name={shown(name)} is unknown; {hint}known: {', '.join(known)}{more}")
    return known[name]


def _spread(owner: str, argument: str, parts: list[Setting], value: Any) -> dict[str, Any]:
    """The entries of a value that goes by the constructor's name."""
    if parts[0].element is None:
        return {parts[0].name: value}
    if not isinstance(value, (list, tuple)) or len(value) != len(parts):
        raise ConfigError(f"{owner}: {argument} must be a list of {len(parts)} numbers, got {describe(value)}")
    return {part.name: number for part, number in zip(parts, value, strict=True)}


def _plain(value: Any) -> Any:
    """A sequence of a foreign type, such as OmegaConf's, as a list."""
    is_sequence = isinstance(value, typing.Sequence) and not isinstance(value, (str, bytes, tuple))
    return list(value) if is_sequence else value
