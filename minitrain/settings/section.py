"""A group of declared settings, as a dataclass that checks its values whenever they are set."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, dataclass_transform

from ..errors import did_you_mean
from .declared import REQUIRED, Setting, unknown_setting
from .ranges import ANY, Range
from .type_check import SettingError, check_type, describe, shown

_DECLARATION = "minitrain"
_NOTHING = ("", ANY, False)


def setting(
    default: Any = REQUIRED,
    description: str = "",
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    one_of: tuple[str, ...] = (),
    python_only: bool = False,
) -> Any:
    """Declare a setting of a `Section`: its default, what it does, and its range. The annotation has its type.

    Args:
        default: the value where none is given; a `Section` stands for a new one of them.
        description: its purpose, in a sentence.
        at_least: the lowest value.
        at_most: the highest value.
        above: a bound below that does not belong to the range.
        below: a bound above that does not belong to it.
        one_of: the words that it may be.
        python_only: whether configurations leave it out.
    """
    limits = Range(at_least, at_most, above, below, one_of)
    metadata = {_DECLARATION: (description, limits, python_only)}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(kw_only_default=True)
class Section:
    """A group of settings. Subclasses declare them by `setting` and need no decorator.

    Types and ranges are checked when a section is made and when one of its settings is assigned.

    Raises:
        ConfigError: if a setting is unknown, missing, of a wrong type, out of range, or at odds with another one. The
            message names the setting, the value, and what would be right. An assignment that fails changes nothing.
    """

    prefix: ClassVar[str] = ""
    """The prefix of the settings' names in messages."""
    former: ClassVar[Mapping[str, str | None]] = {}
    """Names in older config files, and the names now; ``None`` for a setting that no longer exists."""
    usual: ClassVar[str] = ""
    """The variant that is meant where none is named."""

    @classmethod
    def variants(cls) -> Mapping[str, type[Section]]:
        """The sections that can stand in the place of this one, by the ``name`` that chooses them; most have none."""
        return {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclasses.dataclass(cls, init=False, kw_only=True)

    def __init__(self, **values: Any) -> None:
        declared = settings(type(self))
        for name in values:
            if name not in declared:
                raise unknown_setting(type(self).__name__, name, declared)
        for name, one in declared.items():
            value = values[name] if name in values else _default(one)
            if value is REQUIRED:
                raise SettingError(f"{self.prefix}{name} has to be given")
            object.__setattr__(self, name, self._checked(one, value))
        self.check()

    def __setattr__(self, name: str, value: Any) -> None:
        declared = settings(type(self))
        if name not in declared:
            raise unknown_setting(type(self).__name__, name, declared)
        checked, before = self._checked(declared[name], value), getattr(self, name)
        object.__setattr__(self, name, checked)
        try:
            self.check()
        except BaseException:
            object.__setattr__(self, name, before)
            raise

    def check(self) -> None:
        """Check the settings that have to fit each other; types and ranges are right by then.

        Raises:
            ConfigError: if they do not fit.
        """

    def require(self, good: bool, name: str, rule: str) -> None:
        """Raise a ``ConfigError`` that states the ``rule`` for setting ``name`` unless ``good``."""
        if not good:
            raise SettingError(f"{self.prefix}{name} must be {rule}, got {shown(getattr(self, name))}")

    def require_own_name(self) -> None:
        """Raise a ``ConfigError`` if this is a variant and its ``name`` is that of another one."""
        variants, name = self.variants(), vars(self)["name"]
        if name not in variants or variants[name] is not type(self):  # others need not be loaded
            own = tuple(other for other, kind in variants.items() if kind is type(self))
            _require_one_of(f"{self.prefix}name", name, own)

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested dictionaries of plain values, without those for Python alone."""
        kept = [one.name for one in settings(type(self)).values() if not one.python_only]
        values = {name: getattr(self, name) for name in kept}
        return {name: value.to_dict() if isinstance(value, Section) else value for name, value in values.items()}

    def _checked(self, one: Setting, value: Any) -> Any:
        name = f"{self.prefix}{one.name}"
        if isinstance(value, bool) and isinstance(one.range, Range) and one.range.one_of:
            words = ", ".join(one.range.one_of)
            trap = "; in YAML, on and off without quotes mean true and false" if "on" in one.range.one_of else ""
            raise SettingError(f"{name} must be one of {words}, got {describe(value)}{trap}")
        check_type(name, value, one.hint)
        if value is not None and isinstance(one.range, Range) and one.range.one_of:
            _require_one_of(name, value, one.range.one_of)
        elif value is not None and not one.range.holds(value):
            null = "null or " if takes_none(one.hint) else ""
            raise SettingError(f"{name} must be {null}{one.range.rule}, got {shown(value)}")
        return tuple(value) if isinstance(value, list) else value  # YAML has no tuples


S = TypeVar("S", bound=Section)


_SETTINGS: dict[Any, dict[str, Setting]] = {}


def settings(section: type[Section]) -> dict[str, Setting]:
    """The settings of ``section`` by name; the type of a group is a ``Section``."""
    if section not in _SETTINGS:
        _SETTINGS[section] = _declared_by(section)
    return _SETTINGS[section]


def _declared_by(section: type[Section]) -> dict[str, Setting]:
    hints = typing.get_type_hints(section)
    found = {}
    for item in dataclasses.fields(section):  # type: ignore[arg-type]  # __init_subclass__ makes it a dataclass
        default: Any = item.default_factory if item.default is dataclasses.MISSING else item.default
        if default is dataclasses.MISSING:
            default = REQUIRED
        description, limits, python_only = item.metadata.get(_DECLARATION, _NOTHING)
        found[item.name] = Setting(
            item.name, hints[item.name], default, item.name, None, description, limits, python_only
        )
    return found


def make_section(
    base: type[S], title: str, name: str, own: Mapping[str, Setting], defaults: Mapping[str, Any], module: str
) -> type[S]:
    """The variant of ``base`` for a class whose settings were read from its signature.

    Args:
        base: has what all variants share.
        title: name of the new class.
        name: what chooses this variant.
        own: its settings.
        defaults: those that differ from the signature's; ``None`` leaves the value to the run.
        module: where the class belongs.
    """
    hints: dict[str, Any] = {"name": str}
    fields: dict[str, Any] = {"name": setting(name, "Which one it is.")}
    shared = settings(base)
    for one in own.values():
        default = defaults.get(one.name, one.default)
        told = shared.get(one.name, one)  # what the base declares comes first
        hints[one.name] = one.hint | None if default is None and not takes_none(one.hint) else one.hint
        given = {} if default is REQUIRED else {"default": default}
        fields[one.name] = dataclasses.field(**given, metadata={_DECLARATION: (told.description, told.range, False)})
    about = {"__doc__": f"The settings of ``{name}``.", "__module__": module, "__annotations__": hints}
    return type(title, (base,), fields | about)


def takes_none(hint: Any) -> bool:
    """Whether a setting of this type may be null."""
    return type(None) in typing.get_args(hint)


def _default(one: Setting) -> Any:
    return one.default() if isinstance(one.default, type) and one.default is not REQUIRED else one.default


def _require_one_of(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        hint = did_you_mean(str(value), known)
        raise SettingError(f"{name}={shown(value)} is unknown; {hint}known: {', '.join(known)}")
