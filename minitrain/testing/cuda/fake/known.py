"""What is known of an array without a look at its elements: shape, dtype, memory layout, device."""

from __future__ import annotations

from typing import Any

import numpy as np

from .memory import MemoryPointer


class Flags:
    """Memory layout: CuPy's flags know no ``writeable``."""

    def __init__(self, host: np.ndarray[Any, Any], owns: bool) -> None:
        self.c_contiguous, self.f_contiguous = host.flags.c_contiguous, host.flags.f_contiguous
        self.owndata = owns
        self.forc = self.c_contiguous or self.f_contiguous

    def __getitem__(self, name: str) -> bool:
        return bool(getattr(self, {"C": "c_contiguous", "F": "f_contiguous"}.get(name, name.lower())))


class Known:
    """The part of the emulated array that tells these."""

    __slots__ = ()

    _host: np.ndarray[Any, Any]
    data: MemoryPointer
    base: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        found: tuple[int, ...] = self._host.shape
        return found

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        found: np.dtype[Any] = self._host.dtype
        return found

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next along each axis."""
        return self._host.strides

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._host.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._host.size

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self._host.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._host.nbytes

    @property
    def flags(self) -> Flags:
        """Memory layout."""
        return Flags(self._host, self.base is None)

    @property
    def device(self) -> Any:
        """The device that holds it."""
        return self.data.device

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False), "version": 3}

    def __len__(self) -> int:
        return len(self._host)

    def __repr__(self) -> str:
        return f"<{self.dtype} array of shape {self.shape} on cuda:{self.data.device_id}>"
