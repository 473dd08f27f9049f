"""Functions that kernels call by their address: each is compiled once, and kept on disk like a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
from numba.core.ccallback import CFunc

from .compiler import FASTMATH
from .kernel_cache import KernelCache, is_on_disk, kernel_cache_dir
from .object_code import to_disk_only

_kept: list[Any] = []  # machine code lives as long as its function, and nobody else keeps that


def compiled_address(function: Callable[..., Any], signature: Any) -> int:
    """The address of ``function`` with C's calling convention. It is compiled, or loaded if it is on disk."""
    kernel_cache_dir().mkdir(parents=True, exist_ok=True)
    compiled = _c_function(function, signature)
    if not is_on_disk(compiled._cache, compiled._sig):
        with to_disk_only():
            compiled.compile()
        compiled = _c_function(function, signature)
    compiled.compile()  # finds it on disk
    _kept.append(compiled)
    return int(compiled.address)


def _c_function(function: Callable[..., Any], signature: Any) -> Any:
    options = {"fastmath": FASTMATH, "error_model": "numpy"}
    compiled: Any = CFunc(function, (signature.args, signature.return_type), {}, options)
    compiled._cache = KernelCache(function)
    return compiled
