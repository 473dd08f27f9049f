"""The tree of a configuration: sections inside a section, addressed by dotted names such as ``trainer.max_steps``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ..errors import ConfigError, nearest
from .declared import Setting, look_up
from .registry import OWN, Sections
from .section import Section, settings
from .type_check import SettingError, describe

S = TypeVar("S", bound=Section)


def walk(root: type[Section]) -> Iterator[tuple[str, type[Section], Setting]]:
    """Every setting below ``root``: its dotted name, the section it is in, and the setting.

    The settings of all variants are among them; what variants share comes once for each.
    """
    for name, one in settings(root).items():
        if is_group(one.hint):
            for section in one.hint.variants().values() or [one.hint]:
                for inner in settings(section).values():
                    if not inner.python_only:
                        yield f"{name}.{inner.name}", section, inner
        elif not one.python_only:
            yield name, root, one


def known_keys(root: type[Section]) -> list[str]:
    """Every setting below ``root`` by its dotted name, e.g. ``"seed"``, ``"trainer.max_steps"``."""
    return list(dict.fromkeys(key for key, _, _ in walk(root)))


def unknown_key_error(key: str, root: type[Section]) -> ConfigError:
    """The error for the dotted ``key`` that is no setting below ``root``; names the nearest one."""
    keys = known_keys(root)
    groups = sorted({known.partition(".")[0] for known in keys})
    group, dot, leaf = key.rpartition(".")
    siblings = [known for known in keys if known.startswith(f"{group}.")] if dot else groups
    near = [known for known in keys if dot and _leaf(known) == leaf]  # the right name in the wrong group
    near = near or _nearest(leaf, siblings) or _nearest(leaf, keys)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(siblings or groups)}"
    return ConfigError(f"unknown setting {key:.200}; {hint}")


def build(section: type[S], values: Any, *, root: type[Section], prefix: str = "") -> S:
    """Make ``section``, and the groups inside it, from nested dictionaries.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value out of range, or values at odds.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} must be a group of settings, got {describe(values)}")
    section = choose_variant(section, values)
    declared = {name: one for name, one in settings(section).items() if not one.python_only}
    arguments = {}
    for given, value in values.items():
        name = section.former.get(given, given)
        if name is None:
            continue
        if name not in declared:
            if owners := [option for option, other in section.variants().items() if name in settings(other)]:
                raise ConfigError(
                    f"{prefix}{given} is a setting of {', '.join(owners)}, not of {values.get('name', section.usual)}"
                )
            raise unknown_key_error(f"{prefix}{given}", root)
        inner = declared[name].hint
        arguments[name] = build(inner, value, root=root, prefix=f"{name}.") if is_group(inner) else value
    try:
        return section(**arguments)
    except SettingError as error:  # its message begins with the name of a setting
        raise ConfigError(str(error) if section.prefix else f"{prefix}{error}") from error


def choose_variant(section: type[S], values: Mapping[str, Any]) -> type[S]:
    """The variant of ``section`` that ``values`` name; ``section`` itself if it has none.

    Raises:
        ConfigError: if there is none of the name.
    """
    variants = section.variants()
    if not variants:
        return section
    name = values.get("name", section.usual)
    if not isinstance(name, str):
        raise ConfigError(f"{section.prefix}name must be text, got {describe(name)}")
    advice = OWN if isinstance(variants, Sections) else ""
    variant: type[S] = look_up(section.prefix.rstrip("."), name, variants, advice=advice)
    return variant


def is_group(hint: Any) -> bool:
    """Whether a setting's type is a `Section`."""
    return isinstance(hint, type) and issubclass(hint, Section)


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _nearest(leaf: str, keys: list[str]) -> list[str]:
    """Those of ``keys`` whose last part is closest to ``leaf``, if any is close."""
    near = nearest(leaf, [_leaf(key) for key in keys])
    return [key for key in keys if _leaf(key) == near]
