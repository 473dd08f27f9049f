"""Which module calls cuBLASLt.

A binding is a module with functions on plain integers: handles and addresses in, handles out, an exception for a bad
status. Two are known, in this order:

1. ``nvmath.bindings.cublasLt`` of the package nvmath-python, compiled and thus quick to call.
2. ``cublaslt_ctypes``, which needs only the library itself. PyTorch's wheels and ``nvidia-cublas`` bring it.

Without either, ``gemm`` multiplies with CuPy.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import cublaslt_ctypes

_forced: list[Any] = []


def binding() -> Any:
    """The module that calls cuBLASLt, or ``None`` if the library cannot be reached."""
    return _forced[-1] if _forced else _found()[0]


def binding_report() -> str:
    """One sentence that says what multiplies matrices on a GPU, and why."""
    found, reason = (_forced[-1], "chosen by the caller") if _forced else _found()
    return f"{found.__name__} ({reason})" if found is not None else f"cupy.matmul, because {reason}"


@contextmanager
def use_binding(module: Any) -> Iterator[Any]:
    """Call cuBLASLt through ``module`` inside the ``with`` block; ``None`` is CuPy's products."""
    _forced.append(module)
    try:
        yield module
    finally:
        _forced.pop()


@functools.cache
def _found() -> tuple[Any, str]:
    try:
        return importlib.import_module("nvmath.bindings.cublasLt"), "nvmath-python is installed"
    except Exception as error:  # its parts load CUDA libraries, which fail in ways of their own
        reason = f"nvmath-python cannot be used: {type(error).__name__}: {error}"
    try:
        cublaslt_ctypes.load()
    except OSError as error:
        return None, f"{reason}, and {error}"
    return cublaslt_ctypes, reason
