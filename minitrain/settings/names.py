"""The nearest valid name to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CUTOFF = 0.65
"""How alike two names must be, from 0 to 1; below this a suggestion misleads more often than it helps."""


def nearest(name: object, known: Iterable[str], cutoff: float = CUTOFF) -> str | None:
    """The one of ``known`` that is spelled most like ``name``, or ``None`` if none is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=cutoff)
    return near[0] if near else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``"; did you mean x?"`` for the nearest of ``known``, or nothing if none is near."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""
