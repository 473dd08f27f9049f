"""The types of settings: whether a value has the right one, and how to say what it is."""

from __future__ import annotations

import math
import reprlib
import types
import typing
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, has_password, printable


class SettingError(ConfigError):
    """A setting has a wrong type or is out of range; the message begins with its name."""


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
    """Raise a ``SettingError`` unless ``value`` has the type ``hint``; an int is a number, a bool is not.

    A tuple of any length may be given as a list.
    """
    options = options_of(hint)
    if isinstance(value, str) and "\0" in value:
        raise SettingError(f"{name} must have no NUL character in it, got {describe(value)}")
    if isinstance(value, str) and has_password(value):
        raise SettingError(
            f"{name}={printable(value)} has a password in it, which would be stored in the run folder and printed: "
            "leave it out, and give it by the environment (for S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; "
            "for MLflow, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD) or a credentials file"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"{name} must be finite, got {value}")
    if not _fits(value, hint):
        expected = in_words(hint)
        yaml_trap = float in options and _is_number(value)  # YAML reads 1e-3 as text
        advice = " (in YAML, write it with a point: 1.0e-3)" if yaml_trap else ""
        if isinstance(value, str) and any(map(_is_tuple, options)):
            advice = f"; for one entry write {name}=[{printable(value):.100}]"
        raise SettingError(f"{name} must be {expected}, got {describe(value)}{advice}")


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a text that spells a number."""
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _is_tuple(option: Any) -> bool:
    origin: Any = typing.get_origin(option)
    return origin is tuple


def options_of(hint: Any) -> tuple[Any, ...]:
    """The members of a union; ``hint`` itself if it is none."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)  # int | None; Literal["a"] | None
    return typing.get_args(hint) if is_union else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    return any(_fits_one(value, option) for option in options_of(hint))


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


def in_words(hint: Any) -> str:
    """A type in words: ``"a whole number or null"``."""
    in_order = sorted(options_of(hint), key=_is_tuple)  # the longest words last
    return " or ".join(map(_in_words, in_order))


def _in_words(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return " or ".join(map(repr, typing.get_args(option)))
    if _is_tuple(option):
        return f"a list in brackets, each entry {' or '.join(map(_in_words, options_of(typing.get_args(option)[0])))}"
    kind = typing.get_origin(option) or option
    return _WORDS.get(kind) or (f"a {kind.__name__}" if isinstance(kind, type) else str(option))
