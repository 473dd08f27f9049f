"""Where a NaN or an infinity came from: the first bad array, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..backend.arrays import Array, array_module, is_array


def first_bad(arrays: Iterable[tuple[str, Array]]) -> str | None:
    """The name of the first array that holds a NaN or an infinity, and which of the two; ``None`` if all are finite."""
    for name, array in arrays:
        if array.dtype.kind == "f" and not (xp := array_module(array)).isfinite(array).all():
            return f"{name} holds {'NaN' if xp.isnan(array).any() else 'infinity'}"
    return None


def first_bad_parameter(model: Any) -> str | None:
    """The first parameter with a value that is not finite, by its path in the model."""
    return first_bad((f"parameter {path}", p.data) for path, p in model.named_parameters())


def first_bad_gradient(model: Any) -> str | None:
    """The first gradient that is not finite in the order of the backward, by its parameter's path."""
    backwards = reversed([(path, p) for path, p in model.named_parameters() if p.trainable])
    return first_bad((f"the gradient of {path}", p.grad) for path, p in backwards)


def first_bad_activation(cache: Any) -> str | None:
    """The first array of a forward's cache that is not finite, by its path in the cache, e.g. ``blocks.0.norm1.x``.

    A cache mirrors the model and lists its arrays in order of computation, so this names the layer at fault.
    """
    return first_bad((f"activation {path}", array) for path, array in named_arrays(cache))


def named_arrays(cache: Any, path: str = "") -> Iterator[tuple[str, Array]]:
    """The arrays inside nested named tuples, tuples, lists and dictionaries, with their dotted paths."""
    if is_array(cache):
        yield path, cache
    elif isinstance(cache, dict):
        for name, value in cache.items():
            yield from named_arrays(value, f"{path}.{name}" if path else str(name))
    elif isinstance(cache, (tuple, list)):
        for name, value in zip(getattr(cache, "_fields", range(len(cache))), cache, strict=True):
            yield from named_arrays(value, f"{path}.{name}" if path else str(name))
