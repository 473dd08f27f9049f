"""Bounds of settings, shared by optimizers and schedules. Each error names the setting, its value and the bound."""

from __future__ import annotations

import math

from ..errors import ConfigError


def check_not_negative(owner: str, **values: float) -> None:
    """Raise ``ConfigError`` for a value that is negative, infinite or NaN."""
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"{owner}: {name} = {value} must be 0 or more")


def check_positive(owner: str, **values: float) -> None:
    """Raise ``ConfigError`` for a value that is not above zero, or infinite, or NaN."""
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{owner}: {name} = {value} must be more than 0")


def check_decay_rates(owner: str, **values: float | tuple[float, ...]) -> None:
    """Raise ``ConfigError`` for the decay rate of a running mean, or a tuple of them, outside [0, 1)."""
    for name, value in values.items():
        rates = value if isinstance(value, tuple) else (value,)
        if not all(0 <= rate < 1 for rate in rates):
            raise ConfigError(f"{owner}: {name} = {value} must lie in [0, 1)")
