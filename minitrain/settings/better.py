"""Which of two values of a metric is better: one rule for schedulers, early stopping, checkpoints and histories.

A metric is minimised (``"min"``, a loss) or maximised (``"max"``, an accuracy), and may have any sign. NaN and infinity
are never better than anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, get_args

from ..errors import ConfigError

Mode = Literal["min", "max"]
MODES: tuple[Mode, ...] = get_args(Mode)


def check_mode(owner: str, mode: object) -> None:
    """Raise a ``ConfigError`` unless ``mode`` is ``"min"`` or ``"max"``."""
    if mode not in MODES:
        raise ConfigError(f"{owner}: mode = {mode!r:.60} must be 'min' or 'max': whether less or more is better")


def is_better(value: float, best: float | None, mode: str = "min", *, by: float = 0.0, relative: bool = False) -> bool:
    """Whether a value of a metric is better than the best so far.

    Args:
        value: the new value.
        best: the best so far. ``None``, NaN and infinity stand for none; any finite value is better then.
        mode: ``"min"`` or ``"max"``.
        by: the value must be better by more than this.
        relative: whether ``by`` is a part of the size of ``best`` instead of an amount.
    """
    if not math.isfinite(value):
        return False
    if best is None or not math.isfinite(best):
        return True
    gain = best - value if mode == "min" else value - best
    return gain > (by * abs(best) if relative else by)


def has_reached(value: float, target: float, mode: str = "min") -> bool:
    """Whether a value of a metric is as good as a target, or better."""
    return value == target or is_better(value, target, mode)


def best_of(values: Iterable[float], mode: str = "min") -> float:
    """The best of some values; NaN if none of them is finite."""
    finite = [value for value in values if math.isfinite(value)]
    return sort_key(min((sort_key(value, mode) for value in finite), default=math.nan), mode)


def sort_key(value: float, mode: str = "min") -> float:
    """A number that sorts better values first."""
    return value if mode == "min" else -value
