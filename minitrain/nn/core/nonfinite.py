"""Finds the source of a NaN or an infinity: the first bad parameter or gradient, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...backend.arrays import Array, array_module, to_numpy
from ...backend.precision import wide


def first_bad(arrays: Iterable[tuple[str, Array]]) -> str | None:
    """The first array with a NaN or an infinity, as a phrase that says which; ``None`` if all are finite."""
    for name, array in arrays:
        array = wide(array)
        if array.dtype.kind == "f" and not to_numpy((xp := array_module(array)).isfinite(array).all()):
            return f"{name} holds {'NaN' if to_numpy(xp.isnan(array).any()) else 'infinity'}"
    return None


def first_bad_parameter(model: Any) -> str | None:
    """The first parameter with a value that is not finite, by its path in the model."""
    return first_bad((f"parameter {path}", p.data) for path, p in model.named_parameters())


def first_bad_gradient(model: Any) -> str | None:
    """The first gradient that is not finite in the order of the backward, by its parameter's path."""
    backwards = reversed([(path, p) for path, p in model.named_parameters() if p.trainable and not p.fresh])
    return first_bad((f"the gradient of {path}", p.grad) for path, p in backwards)
