"""Compiled kernels on disk, under a hash of all the sources that their machine code depends on.

numba's own cache does not notice edits to helper functions in other files.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.registry import cpu_target

from ..cache_dir import cache_dir
from . import compiler, object_code, parallel_loops

KERNEL_FOLDER = Path(__file__).parents[2] / "kernels" / "cpu"
HELPERS = KERNEL_FOLDER / "common"
"""Helper functions that kernels of all families use."""


@functools.cache
def kernel_cache_dir() -> Path:
    """The folder of this installation's compiled kernels."""
    return cache_dir() / "kernels" / hashlib.sha256(str(KERNEL_FOLDER).encode()).hexdigest()[:8]


linked_with: Callable[[], object] = lambda: None  # noqa: E731
"""Returns what kernels are linked with, such as a BLAS. It enters their stamp; the module that links them sets it."""


@functools.cache
def _source_stamp(file: str) -> str:
    """A hash of everything that the machine code of the functions in ``file`` depends on."""
    called = linked_with() if Path(file).is_relative_to(KERNEL_FOLDER) else None
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {called}".encode())
    for source in sources_of(Path(file)):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def sources_of(file: Path) -> list[Path]:
    """The files that may be compiled into the functions in ``file``: helpers have these places, or these names."""
    ours = [Path(str(module.__file__)) for module in (sys.modules[__name__], compiler, object_code, parallel_loops)]
    here = Path(__file__).parent
    ours += [*sorted(here.glob("_*.py")), *sorted((here / "products").glob("*.py"))]
    return list(dict.fromkeys([file, *sorted(file.parent.glob("_*.py")), *sorted(HELPERS.glob("*.py")), *ours]))


class _Locator(_CacheLocator):  # type: ignore[misc]  # numba is untyped
    """Tells numba to keep a kernel's machine code in ``kernel_cache_dir()``."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file = py_file

    def get_cache_path(self) -> str:
        return str(kernel_cache_dir())

    def get_source_stamp(self) -> str:
        return _source_stamp(self._py_file)

    def get_disambiguator(self) -> str:
        # It is part of the file name, so a stale file is never taken for a fresh one, even while a process compiles.
        return _source_stamp(self._py_file)[:16]

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)


class _CacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]  # noqa: RUF012  # numba's attribute, read once


class KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's disk cache of one function, in ``kernel_cache_dir()``."""

    _impl_class = _CacheImpl

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """The signature and the processor. The file's name has the rest: numba would hash what a closure refers to."""
        return sig, codegen.magic_tuple()


def is_on_disk(cache: KernelCache, signature: Any) -> bool:
    """Whether ``cache`` holds code for this signature and this processor, in its index and in the file named there."""
    key = cache._index_key(signature, cpu_target.target_context.codegen())
    data_file = cache._cache_file._load_index().get(key)
    return data_file is not None and (kernel_cache_dir() / data_file).exists()
