"""Checks that the constructors of layers share. An error names the layer, the argument and what to change."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..errors import ConfigError


def check_sizes(layer: str, **sizes: Any) -> None:
    """Raise a ``ConfigError`` unless each size is a whole number from 1 on."""
    for name, size in sizes.items():
        try:
            fits = not isinstance(size, bool) and operator.index(size) >= 1
        except TypeError:
            fits = False
        if not fits:
            raise ConfigError(f"{layer}: {name} = {size!r} must be a whole number from 1 on")


def check_generator(rng: Any) -> None:
    """Raise a ``ConfigError`` unless initial weights can be drawn from ``rng``."""
    if not isinstance(rng, np.random.Generator):
        raise ConfigError(
            f"rng, the source of initial weights, must be a numpy.random.Generator, got {type(rng).__name__}; "
            "make one by numpy.random.default_rng(0)"
        )
