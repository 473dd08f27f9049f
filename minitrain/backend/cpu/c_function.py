"""Functions that kernels call by their address: each is compiled once, and kept on disk like a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
from numba.core.ccallback import CFunc

from .compile_lock import exclusive
from .compiler import FASTMATH
from .kernel_cache import KernelCache, is_on_disk, kernel_cache_dir
from .object_code import to_disk_only

_kept: list[Any] = []  # machine code lives as long as its function, and nobody else keeps that


class CFunction:
    """A function with C's calling convention, compiled or loaded from disk when its address is first asked for."""

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self.size = len(function.__code__.co_code)
        self._function, self._signature = function, signature
        self._address = 0

    def __call__(self) -> int:
        """The address of the machine code."""
        if not self._address:
            self.compile_to_disk()
            compiled = self._new()
            compiled.compile()  # finds it on disk
            _kept.append(compiled)
            self._address = int(compiled.address)
        return self._address

    def compile_to_disk(self, wait: bool = True) -> bool:
        """Compile to disk, unless the code is there. For the argument and the result see ``Kernel.compile_to_disk``."""
        kernel_cache_dir().mkdir(parents=True, exist_ok=True)
        compiled = self._new()
        with exclusive(kernel_cache_dir() / f"{compiled._cache._impl.filename_base}.lock", wait) as mine:
            if mine and not self.on_disk():
                with to_disk_only():
                    compiled.compile()
            return mine

    def on_disk(self) -> bool:
        """Whether the code is on disk."""
        compiled = self._new()
        return is_on_disk(compiled._cache, compiled._sig)

    def _new(self) -> Any:
        options = {"fastmath": FASTMATH, "error_model": "numpy"}
        signature = (self._signature.args, self._signature.return_type)
        compiled: Any = CFunc(self._function, signature, {}, options)
        compiled._cache = KernelCache(self._function)
        return compiled


def compiled_address(function: Callable[..., Any], signature: Any) -> int:
    """The address of ``function`` with C's calling convention. It is compiled, or loaded if it is on disk."""
    return CFunction(function, signature)()
