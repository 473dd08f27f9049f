"""Groups of settings that check themselves, and errors that name the nearest valid setting."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Section:
    """A group of settings that checks its types and ranges when it is made.

    Raises:
        ConfigError: from the constructor; names the setting, the value, and what would be right.
    """

    prefix: ClassVar[str] = ""
    former: ClassVar[Mapping[str, str]] = {}
    """Names that settings had in older config files, and their names now."""

    def __post_init__(self) -> None:
        for name, hint in settings(type(self)).items():
            _check_type(self.prefix + name, getattr(self, name), hint)
        self.check()

    def check(self) -> None:
        """Check the ranges, after the types are known to be right; raises ``ConfigError``."""

    def require(self, good: bool, name: str, rule: str) -> None:
        """Raise a ``ConfigError`` that states the ``rule`` for setting ``name`` unless ``good``."""
        if not good:
            raise ConfigError(f"{self.prefix}{name} must be {rule}, got {getattr(self, name)!r}")

    def require_at_least(self, low: float, *names: str) -> None:
        """Raise a ``ConfigError`` if one of the settings ``names`` is below ``low``."""
        for name in names:
            self.require(getattr(self, name) >= low, name, f"at least {low}")

    def require_known(self, name: str, known: tuple[str, ...]) -> None:
        """Raise a ``ConfigError`` with the nearest valid value unless ``name`` has one of ``known``."""
        value = getattr(self, name)
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(f"{self.prefix}{name}={value!r} is unknown; {hint}known: {', '.join(known)}")


S = TypeVar("S", bound=Section)


def settings(section: type[Section]) -> dict[str, Any]:
    """Name and type of each setting of ``section``; the type of a group is a ``Section``."""
    hints = typing.get_type_hints(section)
    return {item.name: hints[item.name] for item in dataclasses.fields(section)}


def known_keys(root: type[Section]) -> list[str]:
    """Every setting below ``root`` by its dotted name, e.g. ``"seed"``, ``"trainer.max_steps"``."""
    keys: list[str] = []
    for name, hint in settings(root).items():
        keys += [f"{name}.{inner}" for inner in settings(hint)] if _is_group(hint) else [name]
    return keys


def unknown_key_error(key: str, root: type[Section]) -> ConfigError:
    """The error for the dotted ``key`` that is no setting below ``root``; names the nearest one that is."""
    keys = known_keys(root)
    groups = sorted({known.partition(".")[0] for known in keys})
    group, dot, leaf = key.rpartition(".")
    siblings = [known for known in keys if known.startswith(f"{group}.")] if dot else groups
    near = [known for known in keys if dot and _leaf(known) == leaf]  # the right name in the wrong group
    near = near or _nearest(leaf, siblings) or _nearest(leaf, keys)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(siblings or groups)}"
    return ConfigError(f"unknown setting {key}; {hint}")


def build(section: type[S], values: Any, *, root: type[Section], prefix: str = "") -> S:
    """Make ``section``, and the groups inside it, from nested dictionaries.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value out of range, or values at odds.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} must be a group of settings, got {describe(values)}")
    hints = settings(section)
    arguments = {}
    for given, value in values.items():
        name = section.former.get(given, given)
        if name not in hints:
            raise unknown_key_error(f"{prefix}{given}", root)
        inner = hints[name]
        arguments[name] = build(inner, value, root=root, prefix=f"{name}.") if _is_group(inner) else value
    return section(**arguments)


def describe(value: Any) -> str:
    """``value`` and its type, for an error message."""
    return "null" if value is None else f"{value!r} ({type(value).__name__})"


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _nearest(leaf: str, keys: list[str]) -> list[str]:
    """Those of ``keys`` whose last part is closest to ``leaf``, if any is close."""
    near = difflib.get_close_matches(leaf, [_leaf(key) for key in keys], n=1)
    return [key for key in keys if _leaf(key) in near]


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def _check_type(name: str, value: Any, hint: Any) -> None:
    """Raise a ``ConfigError`` unless ``value`` has the type ``hint``; an int is a number, a bool is not."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} must be finite, got {value}")
    fits = isinstance(value, (*options, int) if float in options else options)
    if not fits or (isinstance(value, bool) and bool not in options):
        expected = " or ".join(_WORDS.get(option, option.__name__) for option in options)
        yaml_trap = isinstance(value, str) and float in options  # YAML reads 1e-3 as text
        advice = " (in YAML, write it with a point: 1.0e-3)" if yaml_trap else ""
        raise ConfigError(f"{name} must be {expected}, got {describe(value)}{advice}")
