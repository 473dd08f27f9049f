"""Reading ``key=value`` arguments: what they may name, and what is wrong with those that do not fit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from ..runs.config import RunConfig
from ..settings.section import unknown_key_error
from .arguments import UsageError
from .names import ELSEWHERE, did_you_mean

_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_RESOLVER = re.compile(r"\$\{[^}]*:")  # ${oc.env:HOME} and its like
_WORD = re.compile(r"[\w-]+")
_EXAMPLE = "for example trainer.max_steps=5000"


def read_overrides(
    arguments: Sequence[str],
    *,
    groups: Mapping[str, Sequence[str]],
    settings: Collection[str],
    literal: Collection[str],
) -> list[str]:
    """Check ``key=value`` arguments against the names that exist, and put them in Hydra's grammar.

    Hydra's own complaints speak of its machinery (structs, default lists, appending); these speak of settings.

    Args:
        arguments: what the user typed.
        groups: the options of each config group, e.g. ``{"recipe": ["pydoc", "tiny"]}``.
        settings: the dotted names of all settings, e.g. ``model.n_layer``.
        literal: the settings whose value is taken as it stands, such as a path: ``data.path=a (1), b.txt``
            needs no quotes beyond the shell's.

    Returns:
        An override for each argument, for Hydra's ``compose``.

    Raises:
        ConfigError: for an argument without ``=``, a key that is no setting, an option that a group does not
            have, ``_target_`` anywhere, or a reference that calls a resolver.
    """
    return [_checked(argument, groups, settings, literal) for argument in arguments]


def _checked(
    argument: str, groups: Mapping[str, Sequence[str]], settings: Collection[str], literal: Collection[str]
) -> str:
    key, equals, value = argument.partition("=")
    if "_target_" in key or ("_target_" in value and key not in literal):
        raise UsageError(f"{argument}: _target_ is not allowed; a setting names what there is and runs no code")
    if key not in literal and _RESOLVER.search(value):
        raise UsageError(f"{argument}: a reference names another setting, such as ${{model.n_embd}}, and calls nothing")
    if key[:1] in ("+", "~"):
        bare = key.lstrip("+~")
        raise UsageError(f"{argument}: settings are changed, not added or removed; write {bare}=VALUE")
    if not equals:
        raise UsageError(f"{argument!r} is not of the form key=value, {_EXAMPLE}")
    if not _KEY.fullmatch(key):
        raise UsageError(f"{argument}: {key!r} is not the name of a setting; write key=value, {_EXAMPLE}")
    if key in groups:
        return _checked_option(key, value, groups[key])
    if key not in settings:
        raise _unknown(key)
    if not value.strip():
        raise UsageError(f"{argument} has no value; write {key}=VALUE")
    if key in literal and value != "null":
        return f"{key}={quoted(value)}"
    return argument


def _unknown(key: str) -> Exception:
    known_as = ELSEWHERE.get(key.rpartition(".")[2])
    if known_as is None:
        return unknown_key_error(key, RunConfig)
    return UsageError(f"unknown setting {key}; did you mean {known_as}?")


def _checked_option(group: str, option: str, options: Sequence[str]) -> str:
    if option in options:
        return f"{group}={option}"
    known = f"{group} is one of: {', '.join(options)}"
    if not _WORD.fullmatch(option):
        raise UsageError(f"{group}={option}: give one name, or several with --multirun; {known}")
    raise UsageError(f"{group}={option}: there is no such {group}{did_you_mean(option, options)} ({known})")


def quoted(value: str) -> str:
    """``value`` as a literal of Hydra's grammar: nothing in it is an operator, a list or a reference.

    A value that the user put in quotes loses them.
    """
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    # In a quoted string backslashes count double before a quote and before ${, and \${ is a plain ${.
    return "'" + re.sub(r"(\\*)('|\$\{|$)", lambda m: m[1] * 2 + ("\\" + m[2] if m[2] else ""), value) + "'"
