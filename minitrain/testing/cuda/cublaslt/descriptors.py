"""Descriptors: what was set with which size, and whether each was destroyed once and used only before."""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import demand

INT8, INT32, UINT32, INT64, UINT64, POINTER = (
    ctypes.c_int8, ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p,
)  # fmt: skip
DESC_TYPES: dict[int, Any] = {
    2: INT32, 3: INT32, 4: INT32, 5: INT32, 6: INT32, 7: UINT32, 8: POINTER, 10: INT64, 11: POINTER, 12: INT64,
    13: INT64, 17: POINTER, 18: POINTER, 19: POINTER, 20: POINTER, 21: POINTER, 22: INT32, 23: POINTER, 24: POINTER,
    25: INT8, 26: INT32, 31: INT32, 32: INT32, 33: INT32, 34: INT32, 35: INT32, 36: POINTER, 37: INT32,
}  # fmt: skip
"""Types of the attributes of a product, by number, from the header."""
LAYOUT_TYPES: dict[int, Any] = {0: UINT32, 1: INT32, 2: UINT64, 3: UINT64, 4: INT64, 5: INT32, 6: INT64}
PREFERENCE_TYPES: dict[int, Any] = {0: UINT32, 1: UINT64, 3: UINT32, 5: UINT32, 6: UINT32, 7: UINT32, 8: UINT32}


@dataclass
class Desc:
    """A product (``cublasLtMatmulDesc_t``)."""

    compute: int
    scale: int
    values: dict[int, int] = field(default_factory=dict)
    types = DESC_TYPES

    @property
    def epilogue(self) -> int:
        """Its ``cublasLtEpilogue_t``; DEFAULT unless set."""
        return self.values.get(7, 1)


@dataclass
class Layout:
    """A matrix stored by columns (``cublasLtMatrixLayout_t``)."""

    values: dict[int, int]
    types = LAYOUT_TYPES

    def __getattr__(self, name: str) -> int:
        number = {"type": 0, "order": 1, "rows": 2, "columns": 3, "leading": 4, "batch": 5, "stride": 6}.get(name)
        if number is None:
            raise AttributeError(name)
        return self.values.get(number, 1 if name == "batch" else 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns


@dataclass
class Preference:
    """Wishes for an algorithm (``cublasLtMatmulPreference_t``)."""

    values: dict[int, int] = field(default_factory=dict)
    types = PREFERENCE_TYPES

    def alignment(self, matrix: str) -> int:
        """The alignment that the caller promises for a matrix, 256 unless set."""
        return self.values.get({"a": 5, "b": 6, "c": 7, "d": 8}[matrix], 256)


T = TypeVar("T")


class Store:
    """All objects that are alive, by handle."""

    def __init__(self) -> None:
        self._alive: dict[int, Any] = {}
        self._numbers = itertools.count(0x1000, 0x10)

    def add(self, made: Any) -> int:
        """A new handle."""
        handle = next(self._numbers)
        self._alive[handle] = made
        return handle

    def get(self, handle: int, kind: type[T]) -> T:
        """The object of a handle; an error if it was destroyed, never made, or is something else."""
        found = self._alive.get(handle)
        demand(isinstance(found, kind), f"{handle:#x} is no {kind.__name__} that is alive")
        return found  # type: ignore[return-value]

    def remove(self, handle: int, kind: type[Any]) -> None:
        """Destroy an object."""
        self.get(handle, kind)
        del self._alive[handle]

    def alive(self) -> list[str]:
        """The kinds of all objects that were not destroyed."""
        return sorted(type(x).__name__ for x in self._alive.values())


def set_attribute(target: Desc | Layout | Preference, attribute: int, buffer: int, nbytes: int) -> None:
    """Read a value from memory as the library does; its size must be that of the attribute."""
    kind = target.types.get(attribute)
    what = f"attribute {attribute} of a {type(target).__name__}"
    demand(kind is not None, f"{what} is unknown")
    size = ctypes.sizeof(kind)  # type: ignore[arg-type]
    demand(nbytes == size, f"{what} has {size} bytes, not {nbytes}")
    demand(buffer, f"{what} was given a null pointer")
    target.values[attribute] = kind.from_address(buffer).value or 0  # type: ignore[union-attr]
