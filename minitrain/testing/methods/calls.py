"""Runs a pair once, for the methods that need no finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...backend.arrays import Array, array_module, is_array, to_numpy
from ..gradients import functions_of
from ..pairs import cotangent_count
from ..refusals import is_floating
from ..report import GradientCheckError


def copied(inputs: Sequence[Any], dtype: Any = np.float64) -> list[Any]:
    """The inputs, floating-point arrays as copies in another dtype."""
    return [array_module(x).array(x, dtype=dtype) if moves(x) else x for x in inputs]


def moves(x: Any) -> bool:
    """Whether it is an array with a gradient."""
    return is_array(x) and is_floating(x)


def run(pair: Any, inputs: Sequence[Any], options: Any) -> tuple[list[Array], Any, Callable[..., Any]]:
    """One forward: its differentiable outputs, its cache, and the backward."""
    forward, backward = functions_of(pair)
    result = forward(*inputs, **options)
    if not isinstance(result, tuple) or len(result) < 2:
        raise GradientCheckError(f"the forward returns a {type(result).__name__}: let it return (out, cache)")
    *outputs, cache = result
    if len(outputs) == 1 and isinstance(outputs[0], tuple):  # such as Loss(total, count)
        outputs = list(outputs[0])
    return outputs[: cotangent_count(backward)], cache, backward


def gradients_of(backward: Callable[..., Any], douts: Sequence[Any], cache: Any, count: int) -> list[Any]:
    """One gradient for each input, ``None`` for one that has none."""
    found = backward(*douts, cache)
    found = list(found) if isinstance(found, tuple | list) else [found]
    return found + [None] * (count - len(found))


def drawn_like(x: Any, rng: np.random.Generator) -> Array:
    """Standard normal numbers, where the array is."""
    return array_module(x).asarray(rng.standard_normal(np.shape(x)))  # type: ignore[no-any-return]


def dot(first: Sequence[Any], second: Sequence[Any]) -> tuple[float, float]:
    """The sum of products over all arrays, and the sum of their sizes: what rounding is relative to."""
    products = [to_numpy(a) * to_numpy(b) for a, b in zip(first, second, strict=True)]
    return float(sum(p.sum() for p in products)), float(sum(abs(p).sum() for p in products))
