"""How kernels and their device functions are compiled: numba's options, and what LLVM may assume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher

# Sums may be reordered and products fused so that loops vectorise; NaN and infinity keep their meaning.
FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
OPTIONS = {"nopython": True, "fastmath": FASTMATH, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


class ApartCompiler(Compiler):  # type: ignore[misc]
    """Compiles under the promise that no array a kernel writes to overlaps another of its arguments.

    Otherwise LLVM compiles two versions of a loop and chooses by the addresses: SIMD code if the arrays are far enough
    apart, else scalar code, which rounds differently. Small arrays that happened to be neighbours in memory then gave
    other bytes than the same numbers elsewhere. So a parallel loop that writes to an array must not use another view of
    it, and a device function must not return a view of its arguments.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


class Device(CPUDispatcher):  # type: ignore[misc]
    """A function that numba compiles into the kernels that call it. Without a Python entry point that is faster."""

    def __call__(self, *args: Any) -> Any:
        """Raise an error: Python cannot call a device function.

        Raises:
            TypeError: always.
        """
        name = self.py_func.__name__
        raise TypeError(f"{name} is a part of kernels: Python cannot call it, but {name}.py_func is the same in Python")


def device(function: Callable[..., Any]) -> Device:
    """Declare a helper that kernels call; LLVM inlines it."""
    options = {**OPTIONS, "no_cpython_wrapper": True}
    return Device(function, targetoptions=options, pipeline_class=ApartCompiler)


def exact_device(function: Callable[..., Any]) -> Device:
    """Declare a helper whose roundings are those of its source: no product is fused with a sum, no sum reordered."""
    options = {**OPTIONS, "no_cpython_wrapper": True, "fastmath": False}
    return Device(function, targetoptions=options, pipeline_class=ApartCompiler)
