"""Checks that the configurations of models share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from ..errors import ConfigError


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
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{name} = {value!r}: {hint}use one of {', '.join(map(repr, known))}")
