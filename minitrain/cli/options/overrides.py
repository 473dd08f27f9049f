"""Reading ``key=value`` arguments: what they name, the value in Hydra's grammar, and what is wrong with others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ConfigError
from ...runs.config import RunConfig
from ...runs.recipes.layers import OPTIONAL
from ...settings.section import settings
from ...settings.tree import known_keys, unknown_key_error
from ..arguments import UsageError, did_you_mean

LITERAL = ("data.path", "run_dir", "init_from", "generation.prompt")
"""Settings whose value is taken as it stands, whatever characters are in it."""

# What other trainers call a setting.
ELSEWHERE = {
    "lr": "optimizer.learning_rate",
    "max_lr": "optimizer.learning_rate",
    "betas": "optimizer.beta1",
    "num_epochs": "trainer.epochs",
    "max_iters": "trainer.max_steps",
    "steps": "trainer.max_steps",
    "accumulation_steps": "trainer.gradient_accumulation_steps",
    "grad_clip": "trainer.max_grad_norm",
    "eval_interval": "trainer.validation_frequency",
    "eval_every": "trainer.validation_frequency",
    "d_model": "model.n_embd",
    "hidden_size": "model.n_embd",
    "warmup": "scheduler.warmup_steps",
    "warmup_iters": "scheduler.warmup_steps",
    "dataset": "data.path",
    "out_dir": "run_dir",
    "checkpoint_dir": "run_dir",
    "resume_from": "init_from",
}

_KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_RESOLVER = re.compile(r"\$\{[^}]*:")  # ${oc.env:HOME} and the like
_WORD = re.compile(r"[\w-]+")
_EXAMPLE = "for example trainer.max_steps=5000"


class Override(NamedTuple):
    """One argument.

    Attributes:
        key: the group, or the dotted name of the setting.
        value: the option of the group, or the setting's value.
    """

    key: str
    value: Any


def read_overrides(arguments: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[Override]:
    """Check ``key=value`` arguments against the names that exist, and read the values.

    Args:
        arguments: the words that the user typed.
        groups: the options of each group, e.g. ``{"recipe": ["pydoc", "tiny"]}``.

    Raises:
        ConfigError: for an argument without ``=``, a key that is no setting, an option that a group does not
            have, a value that cannot be read, ``_target_`` anywhere, or a reference that calls a resolver.
    """
    known, former = set(known_keys(RunConfig)), _former_names()
    return [_read(argument, groups, known, former) for argument in arguments]


def _read(argument: str, groups: Mapping[str, Sequence[str]], known: set[str], former: Mapping[str, str]) -> Override:
    key, equals, value = argument.partition("=")
    key = former.get(key, key)
    if "_target_" in key or ("_target_" in value and key not in LITERAL):
        raise UsageError(f"{argument}: _target_ is not allowed; a setting names what there is and runs no code")
    if key not in LITERAL and _RESOLVER.search(value):
        raise UsageError(f"{argument}: a reference names another setting, such as ${{model.n_embd}}, and calls nothing")
    if key[:1] in ("+", "~"):
        bare = key.lstrip("+~")
        raise UsageError(f"{argument}: settings are changed, not added or removed; write {bare}=VALUE")
    if not equals:
        meant = f"for a text, data.path={argument}" if Path(argument).exists() else _EXAMPLE
        raise UsageError(f"{argument!r} is not of the form key=value, {meant}")
    if not _KEY.fullmatch(key):
        raise UsageError(f"{argument}: {key!r} is not the name of a setting; write key=value, {_EXAMPLE}")
    if key in groups:
        return Override(key, None if value == "null" and key in OPTIONAL else _option(key, value, groups[key]))
    if key not in known:
        raise _unknown(key)
    if not value.strip():
        raise UsageError(f"{argument} has no value; write {key}=VALUE")
    if key in LITERAL:
        return Override(key, None if value == "null" else unquoted(value))
    return Override(key, _value(argument, key, value))


def unquoted(value: str) -> str:
    """``value`` without the quotes that the user put around it."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _value(argument: str, key: str, value: str) -> Any:
    """A value in Hydra's grammar: a number, a word, a quoted text, a list or a group."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"{key}={value}")
        if not override.is_sweep_override():
            return override.value()
        reason = "it gives several values, which --multirun takes"
    except HydraException as problem:
        reason = str(problem).splitlines()[0]
    kinds = "a number, true, false, null, a plain word, or a list in brackets"
    raise ConfigError(f"cannot read {argument} ({reason}): a value is {kinds}")


def _former_names() -> dict[str, str]:
    """The names that settings had, in full, and what they are called now."""
    return {
        f"{group}.{old}": f"{group}.{new}"
        for group, one in settings(RunConfig).items()
        for old, new in getattr(one.hint, "former", {}).items()
        if new is not None
    }


def _unknown(key: str) -> Exception:
    known_as = ELSEWHERE.get(key.rpartition(".")[2])
    if known_as is None:
        return unknown_key_error(key, RunConfig)
    return UsageError(f"unknown setting {key}; did you mean {known_as}?")


def _option(group: str, option: str, options: Sequence[str]) -> str:
    if option in options:
        return option
    known = f"{group} is one of: {', '.join(options)}"
    if not _WORD.fullmatch(option):
        raise UsageError(f"{group}={option}: give one name, or several with --multirun; {known}")
    raise UsageError(f"{group}={option}: there is no such {group}{did_you_mean(option, options)} ({known})")
