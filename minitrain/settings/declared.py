"""Settings of a configuration, read from the signature of what they are for.

A constructor's signature is the one place that has the names, types and defaults of its settings. A configuration
spells two kinds of them differently: ``lr`` is ``learning_rate``, and a tuple of numbers has one entry for each, so
that ``betas`` is ``beta1`` and ``beta2``.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import ConfigError, did_you_mean, nearest

SPELLING = {"lr": "learning_rate"}
SINGULAR = {"betas": "beta", "adamw_betas": "adamw_beta"}
REQUIRED = inspect.Parameter.empty


class Setting(NamedTuple):
    """One entry of a configuration."""

    name: str
    hint: Any  # its type
    default: Any  # REQUIRED if there is none
    argument: str  # the constructor's name for it
    element: int | None  # of which number, if the argument is a tuple of them


def settings_of(constructor: Callable[..., Any], *, without: Collection[str] = ()) -> dict[str, Setting]:
    """The settings of a class by name, ``without`` the arguments that somebody else gives."""
    initialiser: Any = constructor.__init__ if inspect.isclass(constructor) else constructor
    hints = typing.get_type_hints(initialiser)
    found = []
    for argument, parameter in inspect.signature(constructor).parameters.items():
        if argument in without:
            continue
        default = parameter.default
        hint = hints[argument] if argument in hints else _hint_of(default)
        elements = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
        if elements and Ellipsis not in elements:
            stem = SINGULAR.get(argument, argument)
            found += [Setting(f"{stem}{i + 1}", kind, default[i], argument, i) for i, kind in enumerate(elements)]
        else:
            found.append(Setting(SPELLING.get(argument, argument), hint, default, argument, None))
    return {setting.name: setting for setting in found}


def _hint_of(default: Any) -> Any:
    """The type of an argument without an annotation, by its default; an integer may stand for any number."""
    if isinstance(default, tuple) and default:
        return tuple[tuple(map(_hint_of, default))]  # type: ignore[misc]
    kind = float if type(default) is int else type(default)
    return kind if kind in (bool, float, str) else Any


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
    """The error for a setting that ``owner`` does not have; names the nearest one that it has."""
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


def look_up(what: str, name: str, known: Mapping[str, Any]) -> Any:
    """The entry of a table by its name.

    Raises:
        ConfigError: if it has none of this name; names the nearest one.
    """
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"{what}.name={shown(name)} is unknown; {hint}known: {', '.join(known)}")
    return known[name]


def describe(value: Any) -> str:
    """``value`` and its type, for an error message."""
    return "null" if value is None else f"{shown(value)} ({type(value).__name__})"


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxlong, _BRIEF.maxother = 3, 200, 50, 200


def shown(value: Any) -> str:
    """``value`` for an error message, shortened: a few lines of YAML can stand for a list of a billion entries."""
    try:
        return _BRIEF.repr(value)
    except ValueError:  # Python refuses to write out integers of thousands of digits
        return "a number of thousands of digits"


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    Path: "a path",
    dict: "a group in braces",
}


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raise a ``ConfigError`` unless ``value`` has the type ``hint``; an int is a number, a bool is not.

    A tuple of any length may be given as a list.
    """
    options = _options(hint)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} must be finite, got {value}")
    if not _fits(value, hint):
        in_order = sorted(options, key=_is_tuple)  # the longest words last
        expected = " or ".join(map(_in_words, in_order))
        yaml_trap = float in options and _is_number(value)  # YAML reads 1e-3 as text
        advice = " (in YAML, write it with a point: 1.0e-3)" if yaml_trap else ""
        raise ConfigError(f"{name} must be {expected}, got {describe(value)}{advice}")


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a text that spells a number."""
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _is_tuple(option: Any) -> bool:
    origin: Any = typing.get_origin(option)
    return origin is tuple


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union; ``hint`` itself if it is none."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)  # int | None; Literal["a"] | None
    return typing.get_args(hint) if is_union else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, option) for option in _options(hint))


def _fits_one(value: Any, option: Any) -> bool:
    if option is Any:
        return True
    if typing.get_origin(option) is Literal:
        return value in typing.get_args(option)
    if _is_tuple(option):
        element = typing.get_args(option)[0]
        return isinstance(value, (list, tuple)) and all(_fits(item, element) for item in value)
    if isinstance(value, bool):
        return option is bool
    option = typing.get_origin(option) or option  # dict[str, Any] is a dict
    return isinstance(value, (int, float) if option is float else option)


def _in_words(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return " or ".join(map(repr, typing.get_args(option)))
    if _is_tuple(option):
        return f"a list in brackets, each entry {' or '.join(map(_in_words, _options(typing.get_args(option)[0])))}"
    return _WORDS.get(typing.get_origin(option) or option) or str(option)


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
