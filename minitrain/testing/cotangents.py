"""Random gradients of the outputs, which a backward is called with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, array_module

BAND = 1e-6  # outputs smaller than this share of the largest would not show in a sum with it
BANDS = 4


def random_cotangents(outputs: Sequence[Any], weights: Sequence[Array], seed: int) -> list[Array]:
    """A standard normal number for each element of each output, times its weight."""
    rng = np.random.default_rng([seed, 1])
    drawn = [array_module(out).asarray(rng.standard_normal(np.shape(out))) for out in outputs]
    return [x * weight for x, weight in zip(drawn, weights, strict=True)]


def bands(outputs: Sequence[Array]) -> Iterator[list[Array]]:
    """Weights of the outputs: first all 1, then ones that scale large elements down to the size of small ones.

    The gradient of an output of 1e-9 cannot be measured next to one of 1e9, whose rounding is larger. There is rarely
    more than one set of weights.
    """
    sizes = [abs(out) for out in outputs]
    largest = max((float(size.max()) for size in sizes if size.size), default=0.0)
    yield [array_module(size).ones(size.shape) for size in sizes]
    for band in range(1, BANDS):
        upper = largest * BAND**band
        if any(((size > 0) & (size <= upper)).any() for size in sizes):
            yield [upper / array_module(size).maximum(size, upper) for size in sizes]
