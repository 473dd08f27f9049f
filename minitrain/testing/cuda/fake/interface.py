"""The properties of an array that need no look at its elements, and refusals of silent transfers."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import record
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
    """The part of the emulated array that tells shape, dtype, memory layout and device."""

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


class Refuses:
    """The part of the emulated array that refuses: what CuPy does with a silent transfer to the host, or not at all."""

    __slots__ = ()

    shape: Any

    def _refuse(self, what: str) -> TypeError:
        return TypeError(
            f"{record.caller()}: {what} of an array of shape {self.shape} on a GPU would move data to the host without "
            "a word: use minitrain.backend.to_numpy, or keep the computation on the GPU"
        )

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError(
            f"{record.caller()}: Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "
            "a NumPy array explicitly."
        )

    def __float__(self) -> float:
        raise self._refuse("float()")

    def __int__(self) -> int:
        raise self._refuse("int()")

    def __complex__(self) -> complex:
        raise self._refuse("complex()")

    def __bool__(self) -> bool:
        raise self._refuse("bool()")

    def __format__(self, spec: str) -> str:
        if spec:
            raise self._refuse("format()")
        return repr(self)

    def __contains__(self, value: object) -> bool:
        raise self._refuse("the operator in")

    def __reduce__(self) -> Any:
        raise self._refuse("pickling")

    def item(self, *args: Any) -> Any:
        """Refused."""
        raise self._refuse(".item()")

    def tolist(self) -> Any:
        """Refused."""
        raise self._refuse(".tolist()")

    def tobytes(self, order: str = "C") -> Any:
        """Refused."""
        raise self._refuse(".tobytes()")
