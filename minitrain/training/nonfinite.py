"""Where a NaN or an infinity came from, and what to do: the first bad activation by name, advice for the user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..backend.arrays import Array, is_array
from ..checkpoint.manifest import Location
from ..errors import NonFiniteError
from ..nn.core.nonfinite import first_bad


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


def with_advice(error: NonFiniteError, kept: Location | None) -> NonFiniteError:
    """The error that ends a training: with what is left, and what to try.

    Args:
        error: says what is not finite.
        kept: the newest checkpoint; ``None`` without one.
    """
    last = "there is no checkpoint yet" if kept is None else f"the last checkpoint, {kept}, is intact"
    advised = NonFiniteError(
        f"{error}; {last}. Try a lower optimizer.learning_rate, more scheduler.warmup_steps, or a "
        "smaller trainer.max_grad_norm"
    )
    advised.__cause__ = error
    return advised
