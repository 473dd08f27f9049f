"""What CuPy does with a silent transfer to the host, or not at all, and what is an error on the emulated device."""

from __future__ import annotations

from typing import Any

from . import record


class Refuses:
    """The part of the emulated array that refuses."""

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
