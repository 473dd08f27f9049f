"""numba, set up once: how a CPU kernel is declared, compiled on first use, cached on disk and launched.

Three facts about numba shape this file. Its disk cache does not notice an edit in a helper function of another
file, so a kernel is stamped with a hash of its file and of all helper files. Its default thread pool may be
``workqueue``, which wakes its workers ten times more slowly than OpenMP and aborts when two Python threads enter it;
OpenMP is preferred, and launches under ``workqueue`` are serialised by a lock. Compiling takes about a second a
kernel, so nothing is compiled before it is first called.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.codegen import JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from .blas import blas
from .cache_dir import cache_dir
from .threads import environment

# Sums may be reordered and products fused so that loops vectorise; NaN and infinity keep their meaning.
FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
KERNEL_FOLDER = Path(__file__).parent.parent / "kernels" / "cpu"


@functools.cache
def kernel_cache_dir() -> Path:
    """The folder of this installation's compiled kernels."""
    return cache_dir() / "kernels" / hashlib.sha256(str(KERNEL_FOLDER).encode()).hexdigest()[:8]


def blas_width() -> bool | None:
    """Whether the BLAS counts with 64 bits: it is compiled into every kernel that calls it."""
    found = blas()
    return None if found is None else found.wide_integers


@functools.cache
def _source_stamp(file: str) -> str:
    """Changes when anything does that the machine code of the functions in ``file`` depends on."""
    folder = Path(file).parent
    called = blas_width() if folder == KERNEL_FOLDER else None
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {called}".encode())
    for source in [Path(file), *sorted(folder.glob("_*.py")), Path(__file__)]:
        digest.update(source.read_bytes())
    return digest.hexdigest()


class _Locator(_CacheLocator):  # type: ignore[misc]  # numba is untyped
    """Tells numba to keep a kernel's machine code in ``kernel_cache_dir()``."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        self._py_file = py_file

    def get_cache_path(self) -> str:
        return str(kernel_cache_dir())

    def get_source_stamp(self) -> str:
        return _source_stamp(self._py_file)

    def get_disambiguator(self) -> str:
        # In the file's name: a stale file is never mistaken for a fresh one, also while another process compiles.
        return _source_stamp(self._py_file)[:16]

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)


class _CacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]  # noqa: RUF012  # numba's attribute, read once


class KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's disk cache of one function, in ``kernel_cache_dir()``."""

    _impl_class = _CacheImpl


compile_listener: Callable[[str], None] | None = None
"""Called with a kernel's name before it is compiled (not when it comes from disk); the trainer shows it."""

_launch_lock = threading.RLock()


class Kernel:
    """A numba function with one explicit signature, compiled or loaded from disk when first called."""

    def __init__(self, function: Callable[..., Any], signature: str, parallel: bool) -> None:
        functools.update_wrapper(self, function)
        self._function, self._signature, self._parallel = function, signature, parallel
        self._dispatcher = self._new_dispatcher()
        self._run: Callable[..., Any] = self._first_call

    def _new_dispatcher(self) -> Any:
        options = {"parallel": self._parallel, "fastmath": FASTMATH, "nogil": True, "error_model": "numpy"}
        dispatcher = numba.njit(**options)(self._function)
        dispatcher._cache = KernelCache(self._function)
        return dispatcher

    def __call__(self, *args: Any) -> Any:
        """Run the kernel. Read-only and unaligned arrays, other types to numba, are copied: they are inputs."""
        try:
            return self._run(*args)
        except TypeError:
            if all(a.flags.behaved for a in args if isinstance(a, np.ndarray)):
                raise
        return self._run(*(a.copy() if isinstance(a, np.ndarray) and not a.flags.behaved else a for a in args))

    def _first_call(self, *args: Any) -> Any:
        with _launch_lock:
            if self._run == self._first_call:
                self._compile()
        return self._run(*args)

    def _compile(self) -> None:
        on_disk = bool(self._dispatcher._cache._cache_file._load_index())
        if compile_listener is not None and not on_disk:
            compile_listener(f"{self.__module__.rpartition('.')[2]}.{self.__name__}")  # type: ignore[attr-defined]
        threading_layer()  # before anything else starts the pool
        if not on_disk:
            with _throwaway_engine():
                self._dispatcher.compile(self._signature)
            self._dispatcher = self._new_dispatcher()
            self._forget_older_versions()
        self._dispatcher.compile(self._signature)  # finds it on disk
        self._dispatcher.disable_compile()
        self._run = self._dispatcher if threading_layer() != "workqueue" else self._run_alone

    def _forget_older_versions(self) -> None:
        stem, stamp = self._dispatcher._cache._impl.filename_base.rsplit("-", 1)
        for path in kernel_cache_dir().glob(f"{stem}-*"):
            if stamp not in path.name:
                path.unlink(missing_ok=True)

    def _run_alone(self, *args: Any) -> Any:
        with _launch_lock:
            return self._dispatcher(*args)


@contextmanager
def _throwaway_engine() -> Iterator[None]:
    """Let numba compile to disk alone: what it leaves in memory is not used.

    It optimises the body of a parallel loop by itself, and once more inside the kernel. A process that has just
    compiled would run the first result, and one that loads the kernel from disk the second, whose sums may be in
    another order: an interrupted run would not go on with the same bytes. An engine gives the names of functions to
    those that came first, so the first result has to live in another one.
    """
    context = cpu_target.target_context
    with global_compiler_lock:
        engine, context._internal_codegen = context._internal_codegen, JITCPUCodegen("numba.exec")
        try:
            yield
        finally:
            context._internal_codegen = engine


def kernel(signature: str, *, parallel: bool = True) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a CPU kernel with an explicit numba signature, e.g. ``"void(f4[:, ::1], f4[::1], i8)"``."""
    return lambda function: Kernel(function, signature, parallel)


device = numba.njit(fastmath=FASTMATH, nogil=True, error_model="numpy", inline="never")
"""Declare a helper that kernels call; LLVM inlines it."""


@functools.cache
def threading_layer() -> str:
    """The thread pool numba runs on: ``"omp"``, ``"tbb"`` or ``"workqueue"`` (starts it if need be).

    A thread of GNU OpenMP that waits for another spins for milliseconds before it sleeps. On a busy machine the core
    it spins on is the very one the other needs. 2000 rounds (about 0.1 ms) still bridge the gap between two kernels.
    The library reads the variable while it is loaded; other programs and libraries never see it.
    """
    with environment("GOMP_SPINCOUNT", os.environ.get("GOMP_SPINCOUNT", "2000")):
        numba.np.ufunc.parallel._launch_threads()
    return str(numba.threading_layer())
