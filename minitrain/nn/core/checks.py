"""Checks for the constructors of layers. An error names the layer, the argument and what to change."""

from __future__ import annotations

import operator
from numbers import Real
from typing import Any

import numpy as np

from ...errors import ConfigError


def check_sizes(layer: str, **sizes: Any) -> None:
    """Raise a ``ConfigError`` unless each size is a whole number of at least 1."""
    for name, size in sizes.items():
        try:
            fits = not isinstance(size, bool) and operator.index(size) >= 1
        except TypeError:
            fits = False
        if not fits:
            raise ConfigError(f"{layer}: {name} = {size!r} must be a whole number of at least 1")


def check_probabilities(layer: str, **probabilities: Any) -> None:
    """Raise a ``ConfigError`` unless each is a number in [0, 1)."""
    for name, p in probabilities.items():
        if not isinstance(p, Real) or not 0 <= float(p) < 1:
            raise ConfigError(f"{layer}: {name} = {p!r} must be at least 0 and less than 1")


def check_generator(init_rng: Any) -> None:
    """Raise a ``ConfigError`` unless initial weights can be drawn from ``init_rng``."""
    if not isinstance(init_rng, np.random.Generator):
        raise ConfigError(
            f"init_rng, the source of initial weights, must be a numpy.random.Generator, got "
            f"{type(init_rng).__name__}; make one by numpy.random.default_rng(0)"
        )
