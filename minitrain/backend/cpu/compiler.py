"""How kernels, and the functions they are built from, are compiled: numba's options, and what LLVM may rely on."""

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
# Kernels say with ``prange`` what is to be parallel; numba need not look for more, and compiles faster.
PRANGE_ONLY = dict.fromkeys(
    ("comprehension", "fusion", "inplace_binop", "numpy", "reduction", "setitem", "stencil"), False
)


class ApartCompiler(Compiler):  # type: ignore[misc]
    """Compiles under the promise that no array a kernel writes to overlaps another of its arguments.

    Otherwise LLVM makes two loops of one and looks at the addresses to choose: SIMD code if the arrays lie far enough
    apart, else scalar code, which rounds differently. Small arrays that happened to be neighbours in memory then gave
    other bytes than the same numbers elsewhere. Two views of one array must not both be used in a parallel loop that
    writes to one of them, and a device function returns no view of its arguments.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


class Device(CPUDispatcher):  # type: ignore[misc]
    """A function that numba compiles into the kernels that call it; without a way in from Python it does so faster."""

    def __call__(self, *args: Any) -> Any:
        """Say that this is not possible.

        Raises:
            TypeError: always.
        """
        name = self.py_func.__name__
        raise TypeError(f"{name} is a part of kernels: Python cannot call it, but {name}.py_func is the same in Python")


def device(function: Callable[..., Any]) -> Device:
    """Declare a helper that kernels call; LLVM inlines it."""
    options = {**OPTIONS, "no_cpython_wrapper": True}
    return Device(function, targetoptions=options, pipeline_class=ApartCompiler)
