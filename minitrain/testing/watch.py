"""Notices when a forward or a backward writes to arrays that are not its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..backend.arrays import Array, array_module, is_array, to_numpy
from .report import GradientCheckError


class Watch:
    """Copies of arrays, to compare with later.

    Args:
        values: what to look for arrays in, by the name that a message gives it: arrays themselves, and tuples, lists,
            dictionaries and dataclasses of them.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        found = (pair for name, value in values.items() for pair in _arrays_within(name, value))
        self._arrays = [(name, x, array_module(x).array(x)) for name, x in found]

    def check(self, who: str, what: str) -> None:
        """Compare.

        Args:
            who: what has run meanwhile, such as ``"the backward"``.
            what: what the arrays are, such as ``"its cache"``.

        Raises:
            GradientCheckError: if an array has changed; the message names it and its first changed element.
        """
        for name, array, before in self._arrays:
            # NaN differs from itself.
            changed = to_numpy((array != before) & ((array == array) | (before == before)))
            if changed.any():
                index = tuple(int(axis[0]) for axis in changed.nonzero())
                old, new = before[index].item(), array[index].item()
                raise GradientCheckError(
                    f"{who} must not write to {what}: it changed {int(changed.sum())} of {changed.size} elements of "
                    f"{name}, the first of them {list(index)} from {old:.6g} to {new:.6g}; compute a new array instead"
                )


def single_arrays(name: str, value: Any) -> list[str]:
    """The paths of float32 arrays within ``value``."""
    return [path for path, x in _arrays_within(name, value) if x.dtype == np.float32]


def _arrays_within(name: str, value: Any) -> Iterator[tuple[str, Array]]:
    """The arrays in tuples, lists, dictionaries and dataclasses, each with its path, such as ``cache.x``."""
    if is_array(value):
        yield name, value
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for field in value._fields:
            yield from _arrays_within(f"{name}.{field}", getattr(value, field))
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from _arrays_within(f"{name}[{i}]", item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _arrays_within(f"{name}[{key!r}]", item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _arrays_within(f"{name}.{field.name}", getattr(value, field.name))
