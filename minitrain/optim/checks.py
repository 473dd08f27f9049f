"""Ranges of settings for optimizers, schedules and averages. An error names the setting, its value and its range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import NamedTuple

from ..errors import ConfigError

Value = float | None | tuple[float | None, ...]


class Range(NamedTuple):
    """The valid numbers of a setting."""

    holds: Callable[[float], bool]
    rule: str  # completes "must be ..."

    def check(self, owner: str, **values: Value) -> None:
        """Raise ``ConfigError`` unless all values are in the range: numbers, tuples of numbers, or ``None``."""
        for name, value in values.items():
            check_numbers(owner, **{name: value})
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(number is None or self.holds(number) for number in numbers):
                raise ConfigError(f"{owner}: {name} = {value} must be {self.rule}")


def check_numbers(owner: str, **values: object) -> None:
    """Raise ``ConfigError`` unless all values are numbers, tuples of numbers, or ``None``."""
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, Real | None):
                raise ConfigError(f"{owner}: {name} = {value!r} must be a number, got {type(number).__name__}")


NOT_NEGATIVE = Range(lambda x: 0 <= x < math.inf, "0 or more")
NOT_POSITIVE = Range(lambda x: -math.inf < x <= 0, "0 or less")
POSITIVE = Range(lambda x: 0 < x < math.inf, "more than 0")
RATE = Range(lambda x: 0 <= x < 1, "at least 0 and below 1")  # the decay of a running mean
SHARE = Range(lambda x: 0 <= x <= 1, "at least 0 and at most 1")


def check_choice(owner: str, name: str, value: str, known: Sequence[str]) -> None:
    """Raise ``ConfigError`` for a word that is not one of the ``known`` ones."""
    if value not in known:
        raise ConfigError(f"{owner}: {name} = {value!r} must be {' or '.join(map(repr, known))}")
