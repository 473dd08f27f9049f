"""C functions through ctypes, as functions of NumPy arrays and numbers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from ..report import GradientCheckError

_DTYPES: dict[Any, str] = {
    ctypes.c_float: "float32",
    ctypes.c_double: "float64",
    ctypes.c_int8: "int8",
    ctypes.c_uint8: "uint8",
    ctypes.c_int16: "int16",
    ctypes.c_int32: "int32",
    ctypes.c_int64: "int64",
    ctypes.c_bool: "bool",
}


def is_c_function(function: Any) -> bool:
    """Whether it is a function of a library that ctypes has loaded."""
    return isinstance(function, ctypes._CFuncPtr)  # type: ignore[attr-defined]  # the base of all of them


def c_function(function: Any) -> Callable[..., Any]:
    """Let a C function take NumPy arrays where it has pointers.

    Args:
        function: of a library that ctypes has loaded, with ``argtypes``: ``POINTER(c_double)`` or NumPy's ``ndpointer``
            for an array, ``c_int`` and the like for a number.

    Returns:
        A callable. It refuses an array of another dtype than the pointer's, and one that is not in C order.

    Raises:
        GradientCheckError: if ``argtypes`` is missing: a number of the wrong width would be read as another one.
    """
    name = getattr(function, "__name__", "the C function")
    if function.argtypes is None:
        raise GradientCheckError(
            f"{name} has no argtypes: without them ctypes guesses the width of numbers. Set "
            f"{name}.argtypes = [ctypes.POINTER(ctypes.c_double), ..., ctypes.c_int]"
        )
    types = list(function.argtypes)

    def call(*arguments: Any) -> Any:
        if len(arguments) != len(types):
            raise GradientCheckError(f"{name} takes {len(types)} arguments and gets {len(arguments)}")
        return function(
            *(_converted(name, i, x, kind) for i, (x, kind) in enumerate(zip(arguments, types, strict=True)))
        )

    return call


def _converted(name: str, place: int, x: Any, kind: Any) -> Any:
    """An array as the pointer that the function takes; anything else as it is."""
    target = getattr(kind, "_type_", None)
    if not isinstance(x, np.ndarray) or target not in _DTYPES:  # ndpointer converts, and checks, by itself
        return x
    if x.dtype != _DTYPES[target]:
        advice = (
            "compile it for double, such as with -Dfloat=double, or check it with CheckSettings(precision='float32')"
            if x.dtype == np.float64
            else "convert the array"
        )
        raise GradientCheckError(f"argument {place} of {name} points to {_DTYPES[target]}, not {x.dtype}: {advice}")
    if not x.flags.c_contiguous:
        raise GradientCheckError(f"argument {place} of {name} is not in C order: numpy.ascontiguousarray makes it so")
    return x.ctypes.data_as(kind)
