"""Initial weights: made by NumPy from a seeded generator whatever the device, so they are the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array


def generator(seed: int) -> np.random.Generator:
    """The generator of a model's initial weights."""
    return np.random.Generator(np.random.PCG64(seed))


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, dtype: Any = np.float32) -> Array:
    """Normal numbers with mean 0 and standard deviation ``std``, drawn in float64 and rounded to ``dtype``."""
    return (rng.standard_normal(shape) * std).astype(dtype)
