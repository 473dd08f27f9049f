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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.compiler import Compiler
from numba.core.registry import CPUDispatcher, cpu_target
from numba.np.ufunc import parallel

from ..cache_dir import cache_dir
from ..threads import environment
from . import object_code
from .blas import blas
from .compile_ahead import compile_ahead, exclusive

# Sums may be reordered and products fused so that loops vectorise; NaN and infinity keep their meaning.
FASTMATH = {"contract", "reassoc", "nsz", "arcp", "afn"}
OPTIONS = {"nopython": True, "fastmath": FASTMATH, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
# Kernels say with ``prange`` what is to be parallel; numba need not look for more, and compiles faster.
PRANGE_ONLY = dict.fromkeys(
    ("comprehension", "fusion", "inplace_binop", "numpy", "reduction", "setitem", "stencil"), False
)
KERNEL_FOLDER = Path(__file__).parents[2] / "kernels" / "cpu"
HELPERS = KERNEL_FOLDER / "common"
"""Functions that kernels of all families are built from."""


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
    called = blas_width() if Path(file).is_relative_to(KERNEL_FOLDER) else None
    digest = hashlib.sha256(f"{numba.__version__} {sys.version} {called}".encode())
    ours = [Path(__file__), Path(str(object_code.__file__)), *sorted(Path(__file__).parent.glob("_*.py"))]
    for source in dict.fromkeys(
        [Path(file), *sorted(Path(file).parent.glob("_*.py")), *sorted(HELPERS.glob("*.py")), *ours]
    ):
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


def is_on_disk(cache: KernelCache, signature: Any) -> bool:
    """Whether ``cache`` holds code for this signature and this processor, in its index and in the file named there."""
    key = cache._index_key(signature, cpu_target.target_context.codegen())
    data_file = cache._cache_file._load_index().get(key)
    return data_file is not None and (kernel_cache_dir() / data_file).exists()


compile_listener: Callable[[str], None] | None = None
"""Called with a kernel's name before it is compiled (not when it comes from disk); the trainer shows it."""

_launch_lock = threading.RLock()


class _ApartCompiler(Compiler):  # type: ignore[misc]
    """Compiles under the promise that no array a kernel writes to overlaps another of its arguments.

    Otherwise LLVM makes two loops of one and looks at the addresses to choose: SIMD code if the arrays lie far enough
    apart, else scalar code, which rounds differently. Small arrays that happened to be neighbours in memory then gave
    other bytes than the same numbers elsewhere. Two views of one array must not both be used in a parallel loop that
    writes to one of them, and a device function returns no view of its arguments.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.state.flags.noalias = True


class Kernel:
    """A numba function with one explicit signature, compiled or loaded from disk when first called."""

    def __init__(self, function: Callable[..., Any], signature: str, parallel: bool) -> None:
        functools.update_wrapper(self, function)
        self._function, self._signature, self._parallel = function, signature, parallel
        self._dispatcher = self._new_dispatcher()
        self._run: Callable[..., Any] = self._first_call

    def _new_dispatcher(self) -> Any:
        options = {**OPTIONS, "parallel": PRANGE_ONLY.copy() if self._parallel else False}  # numba empties the copy
        dispatcher = CPUDispatcher(self._function, targetoptions=options, pipeline_class=_ApartCompiler)
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
        threading_layer()  # before anything else starts the pool
        if not self._on_disk():
            if compile_listener is not None:
                compile_listener(f"{self.__module__.rpartition('.')[2]}.{self._function.__name__}")
            compile_ahead(self.__module__, self._missing_beside())
            self.compile_to_disk()
        self._dispatcher.compile(self._signature)  # finds it on disk
        self._dispatcher.disable_compile()
        self._run = self._launch if self._parallel else self._dispatcher
        if threading_layer() == "workqueue":
            self._run = functools.partial(_alone, self._run)

    def compile_to_disk(self) -> None:
        """Put the machine code on disk, unless it is there or another process is putting it there."""
        kernel_cache_dir().mkdir(parents=True, exist_ok=True)
        with exclusive(kernel_cache_dir() / f"{self._dispatcher._cache._impl.filename_base}.lock"):
            if not self._on_disk():
                with object_code.to_disk_only():
                    self._new_dispatcher().compile(self._signature)
                self._forget_older_versions()

    def _on_disk(self) -> bool:
        return is_on_disk(self._dispatcher._cache, self._signature)

    def _missing_beside(self) -> list[str]:
        """The other kernels of this one's file that are not on disk."""
        beside = [k for k in vars(sys.modules[self.__module__]).values() if isinstance(k, Kernel) and k is not self]
        return [k._function.__name__ for k in beside if k.__module__ == self.__module__ and not k._on_disk()]

    def _forget_older_versions(self) -> None:
        stem, stamp = self._dispatcher._cache._impl.filename_base.rsplit("-", 1)
        for path in kernel_cache_dir().glob(f"{stem}-*"):
            if stamp not in path.name:
                path.unlink(missing_ok=True)

    def _launch(self, *args: Any) -> Any:
        """Run on the pool. Work in one part, which the last argument says, wakes no other thread."""
        if args[-1] != 1 or (users := parallel._get_num_threads()) == 1:
            return self._dispatcher(*args)
        parallel._set_num_threads(1)
        try:
            return self._dispatcher(*args)
        finally:
            parallel._set_num_threads(users)


def _alone(run: Callable[..., Any], *args: Any) -> Any:
    with _launch_lock:
        return run(*args)


def kernel(signature: str, *, parallel: bool = True) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a CPU kernel with an explicit numba signature, e.g. ``"void(f4[:, ::1], f4[::1], i8)"``.

    The last argument of a parallel one is the number of parts that it cuts its work into, one for each thread.
    """
    return lambda function: Kernel(function, signature, parallel)


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
    return Device(function, targetoptions=options, pipeline_class=_ApartCompiler)


@functools.cache
def threading_layer() -> str:
    """The thread pool numba runs on: ``"omp"``, ``"tbb"`` or ``"workqueue"`` (starts it if need be).

    A thread of GNU OpenMP that waits for another spins for milliseconds before it sleeps. On a busy machine the core
    it spins on is the very one the other needs. 2000 rounds (about 0.1 ms) still bridge the gap between two kernels.
    The library reads the variable while it is loaded; other programs and libraries never see it.
    """
    with environment("GOMP_SPINCOUNT", os.environ.get("GOMP_SPINCOUNT", "2000")):
        parallel._launch_threads()
    return str(numba.threading_layer())


def pool_size() -> int:
    """Threads of numba's pool: ``thread_count()`` when it was started, unless somebody imported numba before."""
    return int(numba.config.NUMBA_NUM_THREADS)
