"""A CPU kernel: declared with a signature, compiled on first use, kept on disk and launched.

Compiling takes about a second per kernel, so a kernel is compiled when it is first called. Its parallel loops run on
the threads of ``team.py`` on Linux, and on numba's thread pool elsewhere. That may be ``workqueue``, which wakes its
workers ten times more slowly than OpenMP and aborts when two Python threads enter it. So OpenMP is preferred, and
launches on ``workqueue`` are serialised by a lock.
"""

from __future__ import annotations

import functools
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import numba_settings  # noqa: F401  # before numba

# isort: split
import llvmlite.binding
import numba
import numpy as np
from numba.core.registry import CPUDispatcher
from numba.np.ufunc import parallel

from ..precision import current_precision
from ..threads import environment
from . import kernel_cache, object_code, workers
from .c_function import CFunction
from .compile_ahead import compile_ahead
from .compile_lock import exclusive
from .compiler import OPTIONS, ApartCompiler
from .compiler import device as device
from .kernel_cache import KernelCache, is_on_disk, kernel_cache_dir
from .parallel_loops import split
from .products.bf16_units import link_unit
from .products.blas import blas


def blas_width() -> bool:
    """Whether the BLAS has 64-bit integers. This is compiled into every kernel that calls it; none does without one."""
    found = blas()
    return found is None or found.wide_integers


kernel_cache.linked_with = blas_width

compile_listener: Callable[[str], None] | None = None
"""Called with a kernel's name before it is compiled (not when it comes from disk); the trainer shows it."""

_launch_lock = threading.RLock()
_to_link: dict[str, Callable[[], int]] = {}
_asked_for: list[tuple[str, str]] = []
"""Files of kernels that the helpers were asked to compile, and in which form."""


def link_before_loading(symbol: str, address: Callable[[], int]) -> None:
    """Tell LLVM the address of a function that kernels call, before the next kernel is loaded.

    It is not asked for at once: a process that only compiles kernels does not need it.
    """
    _to_link[symbol] = address


class Kernel:
    """A numba function with one explicit signature, compiled or loaded from disk when first called."""

    def __init__(self, function: Callable[..., Any], signature: str, parallel: bool, form: str = "") -> None:
        functools.update_wrapper(self, function)
        self._function, self._signature, self._parallel = function, signature, parallel
        self.form = form
        self.path = f"{function.__name__}.{form}" if form else function.__name__  # in its module
        self._dispatcher = self._new_dispatcher(function)
        self._run: Callable[..., Any] = self._first_call
        self.size = len(function.__code__.co_code)
        self._asked = False  # whether a helper process is to compile it

    def _new_dispatcher(self, function: Callable[..., Any]) -> Any:
        dispatcher = CPUDispatcher(function, targetoptions=OPTIONS, pipeline_class=ApartCompiler)
        dispatcher._cache = KernelCache(self._function)
        return dispatcher

    def __call__(self, *args: Any) -> Any:
        """Run the kernel. Read-only and unaligned arrays have other types in numba; they are inputs and are copied."""
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
        missing_on_disk, asked_for = not self.on_disk(), (self.__module__, self.form or usual_form())
        if missing_on_disk and asked_for not in _asked_for:
            _asked_for.append(asked_for)
            compile_ahead(self.__module__, [], asked_for[1])
        threading_layer()  # before anything else starts the pool
        if missing_on_disk:
            if compile_listener is not None:
                compile_listener(f"{self.__module__.rpartition('.')[2]}.{self.path}")
            while not self.compile_to_disk(wait=False):  # a helper is at it
                others = (other for file, form in _asked_for for other in missing(file, [], form))
                if not any(other.compile_to_disk(wait=False) for other in others if other is not self):
                    self.compile_to_disk()
        while _to_link:
            symbol, address = _to_link.popitem()
            llvmlite.binding.add_symbol(symbol, address())
        self._dispatcher.compile(self._signature)  # finds it on disk
        self._dispatcher.disable_compile()
        self._run = self._launch if self._parallel and workers.has_team() else self._dispatcher
        if threading_layer() == "workqueue" and not workers.has_team():
            self._run = functools.partial(_alone, self._run)

    def ready_or_soon(self) -> bool:
        """Whether a call would not wait for the compiler; if it would, helper processes are asked to compile it.

        Where there can be no helper, the answer is yes, and the call waits.
        """
        if self._run != self._first_call or self.on_disk():
            return True
        if not self._asked:
            self._asked = compile_ahead(self.__module__, [self.path], self.form or "float32")
        return not self._asked

    def compile_to_disk(self, wait: bool = True) -> bool:
        """Compile to disk, unless the code is there.

        Args:
            wait: whether to wait if another process is writing it.

        Returns:
            Whether the code is there now. It is not if another process is writing it.
        """
        kernel_cache_dir().mkdir(parents=True, exist_ok=True)
        with exclusive(kernel_cache_dir() / f"{self._dispatcher._cache._impl.filename_base}.lock", wait) as mine:
            if mine and not self.on_disk():
                with object_code.to_disk_only():
                    function = split(self._function) if self._parallel else self._function
                    self._new_dispatcher(function).compile(self._signature)
                self._forget_older_versions()
            return mine

    def on_disk(self) -> bool:
        """Whether the code is on disk."""
        return is_on_disk(self._dispatcher._cache, self._signature)

    def _forget_older_versions(self) -> None:
        stem, stamp = self._dispatcher._cache._impl.filename_base.rsplit("-", 1)
        for path in kernel_cache_dir().glob(f"{stem}-*"):
            if stamp not in path.name:
                path.unlink(missing_ok=True)

    def _launch(self, *args: Any) -> Any:
        """Run on the team. The last argument is the number of parts, one for each thread."""
        workers.start_workers(args[-1])
        return self._dispatcher(*args)


def _alone(run: Callable[..., Any], *args: Any) -> Any:
    with _launch_lock:
        return run(*args)


def usual_form() -> str:
    """The form of operands that kernels get under the present policy, if they have several."""
    halves = current_precision() == "bfloat16" and link_unit().takes_halves
    return "bfloat16" if halves else "float32"


def missing(module: str, names: Sequence[str], form: str) -> Iterator[Kernel | CFunction]:
    """The kernels of a file, and of those in its ``USED_WITH``, that are not on disk, the largest first.

    Functions that kernels are linked with come before them.

    Args:
        module: the file of kernels.
        names: only these kernels of that file, if there are any.
        form: of those kernels that have several.
    """
    file = importlib.import_module(module)
    package = module.split(".cpu.")[0]
    used = [] if names else [f"{package}.cpu.{name}" for name in getattr(file, "USED_WITH", ())]
    found: list[Kernel] = []
    for one in [file, *map(importlib.import_module, used)]:
        own = [getattr(kernel, form, kernel) for kernel in vars(one).values()]
        found += [kernel for kernel in own if isinstance(kernel, Kernel) and kernel.__module__ == one.__name__]
    linked = [function for function in _to_link.values() if isinstance(function, CFunction)]
    wanted = [kernel for kernel in found if not names or kernel.path in names]
    yield from (function for function in linked if not function.on_disk())
    yield from (kernel for kernel in sorted(wanted, key=lambda kernel: -kernel.size) if not kernel.on_disk())


class ProductKernel:
    """A kernel with a form for each type of its operands, such as float32 and bfloat16 as 16 bits.

    The first array decides. Each form is an attribute of its name.
    """

    def __init__(self, function: Callable[..., Any], signature: str, forms: Sequence[str]) -> None:
        functools.update_wrapper(self, function)
        self._by_type: dict[Any, Kernel] = {}
        for form in forms:
            made = Kernel(function, signature.replace(OPERAND, FORMS[form][0]), True, form)
            setattr(self, form, made)
            self._by_type[np.dtype(FORMS[form][1])] = made

    def __call__(self, *args: Any) -> Any:
        """Run the form that fits."""
        return self._by_type[args[0].dtype](*args)


OPERAND = "operand"
FORMS = {"float32": ("f4", np.float32), "bfloat16": ("u2", np.uint16), "int8": ("i1", np.int8)}
"""The types of operands: in a signature, and of the arrays."""


def kernel(
    signature: str, *, parallel: bool = True, forms: Sequence[str] = ("float32", "bfloat16")
) -> Callable[[Callable[..., Any]], Any]:
    """Declare a CPU kernel with an explicit numba signature, e.g. ``"void(f4[:, ::1], f4[::1], i8)"``.

    The last argument of a parallel kernel is the number of parts of its work, one for each thread. A signature with
    ``operand`` as a type, as in ``"void(operand[:, ::1], f4[:, ::1], i8)"``, declares a ``ProductKernel`` with these
    forms.
    """
    if OPERAND in signature:
        return lambda function: ProductKernel(function, signature, forms)
    return lambda function: Kernel(function, signature, parallel)


@functools.cache
def threading_layer() -> str:
    """The thread pool of the user's numba functions: ``"omp"``, ``"tbb"`` or ``"workqueue"``. Starts it if necessary.

    Kernels run on it where they have no team of their own. A thread of GNU OpenMP that waits for another spins for
    milliseconds before it sleeps. On a busy machine the other thread may need the very core that it spins on. 2000
    rounds (about 0.1 ms) are enough to bridge the gap between two kernels. The library reads the variable while it is
    loaded; other programs and libraries never see it.
    """
    with environment("GOMP_SPINCOUNT", os.environ.get("GOMP_SPINCOUNT", "2000")):
        parallel._launch_threads()
    workers.prepare()
    return str(numba.threading_layer())


def describe_pool() -> str:
    """The threads that kernels run on, in one line."""
    layer = threading_layer()
    if not workers.has_team():
        return f"numba's {layer}, size {numba.config.NUMBA_NUM_THREADS}"
    shortest, longest = (time // 1000 for time in workers.spin_times())
    spins = f"{shortest} to {longest} µs, by whether cores are free" if shortest < longest else f"{longest} µs"
    return f"minitrain's own; waiting threads spin for {spins}"
