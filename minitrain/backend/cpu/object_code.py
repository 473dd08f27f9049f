"""Compiles a kernel to disk only: nothing is loaded into this process, and LLVM optimises it fewer times.

numba compiles a function to run it at once. Every function that a kernel calls becomes machine code of its own, too.
Only the kernel's object code goes to disk. So a process that has just compiled would run different code, with sums in
another order, than a process that loads the kernel, and an interrupted run would not continue with the same bytes.
Therefore all processes load kernels from disk. Work that is needed only to run at once is skipped.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from .parallel_loops import is_part

LINE = 64
"""Arrays allocated in a kernel begin at a cache line. numba aligns to 32 bytes, where half of all 512-bit accesses
touch two lines: sums in such an array took twice as long."""


class _Library(JITCodeLibrary):  # type: ignore[misc]  # numba is untyped
    """Code that can be optimised and written as an object file, but has no address."""

    def _optimize_final_module(self) -> None:
        # A part of a parallel loop is optimised with its kernel, its only caller. Helpers are not: one that asks for
        # 512-bit vectors would lose them if it were inlined first.
        if not is_part(self.name):
            super()._optimize_final_module()

    def _finalize_specific(self) -> None:
        pass

    def _get_compiled_object(self) -> bytes:
        return bytes(self._codegen._tm.emit_object(self._final_module))

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0


class _Codegen(JITCPUCodegen):  # type: ignore[misc]
    """Generates the code that numba's own engine would for this processor, without an engine that could run it."""

    _library_class = _Library

    def _add_module(self, module: Any) -> None:
        pass

    def _check_llvm_bugs(self) -> None:
        pass  # a parser's bug of 2015; numba looks for it in every function

    def set_env(self, env_name: str, env: Any) -> None:
        pass


@contextmanager
def to_disk_only() -> Iterator[None]:
    """Within the ``with`` block, numba compiles to its cache on disk only: the result cannot be run here."""
    settings = vars(cpu_target.target_context)
    ours = {"_internal_codegen": _Codegen("numba.exec"), "get_preferred_array_alignment": lambda dtype: LINE}
    with global_compiler_lock:
        before = {name: settings[name] for name in ours if name in settings}
        collecting = gc.isenabled()
        try:
            gc.disable()  # compiling makes a million small objects and hardly any garbage
            settings.update(ours)
            yield
        finally:
            if collecting:
                gc.enable()
            for name in ours:
                settings.pop(name, None)  # numba's class sets its own alignment
            settings.update(before)
