"""Groups of settings that check themselves, and errors that name the nearest valid setting."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from ..errors import ConfigError, did_you_mean, nearest
from .declared import Setting, check_type, describe, look_up, shown


@dataclass(frozen=True, kw_only=True)
class Section:
    """A group of settings that checks its types and ranges when it is made.

    Raises:
        ConfigError: from the constructor; names the setting, the value, and what would be right.
    """

    prefix: ClassVar[str] = ""
    former: ClassVar[Mapping[str, str | None]] = {}
    """Names that settings had in older config files, and their names now; ``None`` for what nothing uses any more."""
    usual: ClassVar[str] = ""
    """The variant that is meant where none is named."""

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections that can stand in the place of this one, by the ``name`` that chooses them; most have none."""
        return {}

    def __post_init__(self) -> None:
        for name, hint in settings(type(self)).items():
            value = getattr(self, name)
            check_type(self.prefix + name, value, hint)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))  # frozen, and YAML has no tuples
        self.check()

    def check(self) -> None:
        """Check the ranges, after the types are known to be right; raises ``ConfigError``."""

    def require(self, good: bool, name: str, rule: str) -> None:
        """Raise a ``ConfigError`` that states the ``rule`` for setting ``name`` unless ``good``."""
        if not good:
            raise ConfigError(f"{self.prefix}{name} must be {rule}, got {shown(getattr(self, name))}")

    def require_at_least(self, low: float, *names: str) -> None:
        """Raise a ``ConfigError`` if one of the settings ``names`` is below ``low``."""
        for name in names:
            self.require(getattr(self, name) >= low, name, f"at least {low}")

    def require_known(self, name: str, known: tuple[str, ...]) -> None:
        """Raise a ``ConfigError`` with the nearest valid value unless ``name`` has one of ``known``."""
        value = getattr(self, name)
        if value not in known:
            hint = did_you_mean(value, known)
            raise ConfigError(f"{self.prefix}{name}={shown(value)} is unknown; {hint}known: {', '.join(known)}")

    def require_own_name(self) -> None:
        """Raise a ``ConfigError`` if this is a variant and its ``name`` is that of another one."""
        variants, name = self.variants(), getattr(self, "name", "")
        if name not in variants or variants[name] is not type(self):  # others need not be loaded
            self.require_known("name", tuple(other for other, kind in variants.items() if kind is type(self)))


S = TypeVar("S", bound=Section)


def make_section(
    base: type[S], title: str, name: str, own: Mapping[str, Setting], defaults: Mapping[str, Any], module: str
) -> type[S]:
    """The variant of ``base`` for something whose settings were read from its signature.

    Args:
        base: what all variants have.
        title: name of the new class.
        name: what chooses this variant.
        own: its settings.
        defaults: those that a run begins with instead of the signature's.
        module: where the class belongs.
    """
    fields = [(setting.name, setting.hint, defaults.get(setting.name, setting.default)) for setting in own.values()]
    return dataclasses.make_dataclass(
        title,
        [("name", str, name), *fields],
        bases=(base,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": f"The settings of ``{name}``.", "__module__": module},
    )


def settings(section: type[Section]) -> dict[str, Any]:
    """Name and type of each setting of ``section``; the type of a group is a ``Section``."""
    hints = typing.get_type_hints(section)
    return {item.name: hints[item.name] for item in dataclasses.fields(section)}


def known_keys(root: type[Section]) -> list[str]:
    """Every setting below ``root`` by its dotted name, e.g. ``"seed"``, ``"trainer.max_steps"``."""
    keys: list[str] = []
    for name, hint in settings(root).items():
        sections = [hint, *hint.variants().values()] if _is_group(hint) else []
        inside = dict.fromkeys(f"{name}.{inner}" for section in sections for inner in settings(section))
        keys += list(inside) or [name]
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
    return ConfigError(f"unknown setting {key:.200}; {hint}")


def build(section: type[S], values: Any, *, root: type[Section], prefix: str = "") -> S:
    """Make ``section``, and the groups inside it, from nested dictionaries.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value out of range, or values at odds.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} must be a group of settings, got {describe(values)}")
    section = choose_variant(section, values)
    hints = settings(section)
    arguments = {}
    for given, value in values.items():
        name = section.former.get(given, given)
        if name is None:
            continue
        if name not in hints:
            if owners := [option for option, other in section.variants().items() if name in settings(other)]:
                raise ConfigError(
                    f"{prefix}{given} is a setting of {', '.join(owners)}, not of {values.get('name', section.usual)}"
                )
            raise unknown_key_error(f"{prefix}{given}", root)
        inner = hints[name]
        arguments[name] = build(inner, value, root=root, prefix=f"{name}.") if _is_group(inner) else value
    return section(**arguments)


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
    variant: type[S] = look_up(section.prefix.rstrip("."), name, variants)
    return variant


def _is_group(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _nearest(leaf: str, keys: list[str]) -> list[str]:
    """Those of ``keys`` whose last part is closest to ``leaf``, if any is close."""
    near = nearest(leaf, [_leaf(key) for key in keys])
    return [key for key in keys if _leaf(key) == near]
