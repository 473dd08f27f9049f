"""The layout of a captured step's batch: everything but the content of its arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ...backend.arrays import Array
from ...data.loading.batches import map_arrays


class Kind(NamedTuple):
    """Takes the place of an array."""

    shape: tuple[int, ...]
    dtype: str


class Layout:
    """The structure of micro-batches, with the kinds of their arrays. Two are equal if one graph serves both.

    Args:
        parts: pairs of the index of the first sample and the micro-batch, with a `Kind` for each array.
    """

    def __init__(self, parts: list[tuple[int, Any]]) -> None:
        self._parts = parts

    @classmethod
    def of(cls, micro_batches: Iterable[tuple[int, Any]]) -> Layout:
        """The layout of micro-batches."""
        return cls([(first, map_arrays(part, lambda x: Kind(x.shape, x.dtype.name))) for first, part in micro_batches])

    def filled(self, arrays: Iterable[Array]) -> list[tuple[int, Any]]:
        """The micro-batches with these arrays, in the order of ``arrays_in``."""
        left = iter(arrays)
        return [(first, _filled(part, left)) for first, part in self._parts]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self._parts == other._parts

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        kinds: list[str] = []
        for _, part in self._parts:
            _filled(part, iter(()), note=lambda kind: kinds.append(f"{kind.dtype} {kind.shape}"))
        return ", ".join(kinds)


def _filled(tree: Any, arrays: Any, note: Any = None) -> Any:
    """``tree`` with the next of ``arrays`` for each `Kind`, or with what ``note`` returns for it."""
    if isinstance(tree, Kind):
        return next(arrays) if note is None else note(tree)
    if isinstance(tree, dict):
        return {name: _filled(value, arrays, note) for name, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_filled(value, arrays, note) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(_filled(value, arrays, note) for value in tree)
    return tree
