"""Checks that the configurations of models share."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from ..backend.arrays import is_array
from ..errors import ConfigError, DataError, ShapeError, did_you_mean

KINDS = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "True or False"),
    str: (str, "text"),
}
"""what the values of fields of a type may be, and what to call it"""


def check_types(config: Any) -> None:
    """Raise a ``ConfigError`` unless each number, truth value and text of a configuration is of its field's type."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if value is None and type(None) in options:
            continue
        kind, wanted = KINDS.get(options[0], (object, ""))
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool and options[0] in KINDS):
            raise ConfigError(f"{field.name} = {value!r} must be {wanted}, got {type(value).__name__}")


def check_config(model: Any, config: Any, kind: type) -> None:
    """Raise a ``ConfigError`` unless ``config`` is of the model's ``kind``."""
    if not isinstance(config, kind):
        raise ConfigError(
            f"{type(model).__name__}: config must be a {kind.__name__}, got {type(config).__name__}; "
            f"write {type(model).__name__}({kind.__name__}(...))"
        )


def check_batch(model: Any, batch: Any, *names: str) -> None:
    """Raise a ``DataError`` unless a batch has these attributes, and a ``ShapeError`` unless they are arrays."""
    for name in names:
        if not hasattr(batch, name):
            raise DataError(
                f"{type(model).__name__}.loss: the batch is a {type(batch).__name__} without .{name}; it needs "
                f"{' and '.join(names)} as attributes, which a named tuple gives it"
            )
        check_array(f"{type(model).__name__}.loss: {name}", getattr(batch, name))


def check_array(what: str, x: Any) -> None:
    """Raise a ``ShapeError`` unless ``x`` is an array."""
    if not is_array(x):
        raise ShapeError(f"{what} must be a NumPy or CuPy array, got {type(x).__name__}; numpy.asarray makes one")


def check_at_least(config: Any, low: int, *names: str) -> None:
    """Raise a ``ConfigError`` unless each of the fields ``names`` is ``low`` or more."""
    for name in names:
        if getattr(config, name) < low:
            raise ConfigError(f"{name} = {getattr(config, name)}: it must be {low} or more")


def check_heads(config: Any) -> None:
    """Raise a ``ConfigError`` unless the heads divide the width, and the key heads the heads."""
    width, heads, kv_heads = config.n_embd, config.n_head, getattr(config, "n_kv_head", None)
    if width % heads:
        near = max(heads, round(width / heads) * heads)
        raise ConfigError(f"n_embd = {width} is not a multiple of n_head = {heads}: try n_embd = {near}")
    if kv_heads is not None and (kv_heads < 1 or heads % kv_heads):
        raise ConfigError(f"n_kv_head = {kv_heads} does not divide n_head = {heads}")


def check_loss_chunk(config: Any) -> None:
    """Raise a ``ConfigError`` unless ``loss_chunk`` is ``None`` or a number of rows."""
    if config.loss_chunk is not None and config.loss_chunk < 1:
        raise ConfigError(f"loss_chunk = {config.loss_chunk}: it must be 1 or more; None computes all logits at once")


def check_share(config: Any, name: str) -> None:
    """Raise a ``ConfigError`` unless the field is in [0, 1)."""
    value = getattr(config, name)
    if not 0 <= value < 1:
        raise ConfigError(f"{name} = {value}: it must be at least 0 and less than 1")


def check_choice(config: Any, name: str, choices: Iterable[str]) -> None:
    """Raise a ``ConfigError`` with the nearest valid name unless the field is one of ``choices``."""
    value, known = getattr(config, name), list(choices)
    if value not in known:
        raise ConfigError(
            f"{name} = {value!r}: {did_you_mean(str(value), known)}use one of {', '.join(map(repr, known))}"
        )
