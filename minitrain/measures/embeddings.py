"""Embeddings of two sides of pairs, such as images and texts: how a batch has them, and their directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..errors import DataError

Features = Callable[[Any, Any], tuple[Array, Array]]
"""The features (B, C) of both sides, from outputs and a batch."""

LEAST_NORM = 1e-12


def both_sides(outputs: Any, batch: Any) -> tuple[Array, Array]:
    """The outputs, if they are the features of both sides, as those of `DualEncoder` are.

    Raises:
        DataError: if they are not two arrays (B, C) of one shape.
    """
    left, right = outputs if isinstance(outputs, tuple) and len(outputs) == 2 else (None, None)
    shape = getattr(left, "shape", ())
    if len(shape) != 2 or getattr(right, "shape", None) != shape:
        raise DataError("the outputs are not the features of both sides of B pairs, two arrays (B, C) of one shape")
    assert left is not None
    assert right is not None
    return left, right


def directions(features: Array) -> Array:
    """Features (..., C) as vectors of length 1, in float64 on the CPU. A zero vector stays zero."""
    there = to_numpy(features).astype(np.float64)
    found: Array = there / np.maximum(np.linalg.norm(there, axis=-1, keepdims=True), LEAST_NORM)
    return found
