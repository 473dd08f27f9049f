"""The modules that stand in for ``cupy`` and ``cupyx``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from .. import nccl
from . import devices, memory, streams
from .array import compute, ndarray
from .functions import NAMESPACE, as_strided, sliding_window_view
from .methods import install as _install  # noqa: F401  (the import gives the array its methods)
from .usage import MemoryHook, OutOfMemoryError


def modules() -> dict[str, ModuleType]:
    """The modules for ``sys.modules``, by name."""
    cuda = _module(
        "cupy.cuda",
        Device=devices.Device,
        Event=streams.Event,
        MemoryHook=MemoryHook,
        MemoryPointer=memory.MemoryPointer,
        MemoryPool=memory.MemoryPool,
        Stream=streams.Stream,
        UnownedMemory=memory.UnownedMemory,
        alloc=memory.alloc,
        get_current_stream=streams.current_stream,
        is_available=lambda: True,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=devices.runtime,
        set_allocator=memory.set_allocator,
        using_allocator=memory.using_allocator,
    )
    collective = _module(
        "cupy.cuda.nccl",
        NcclCommunicator=nccl.NcclCommunicator,
        NcclError=nccl.NcclError,
        get_unique_id=nccl.get_unique_id,
        get_version=nccl.get_version,
        groupEnd=nccl.groupEnd,
        groupStart=nccl.groupStart,
    )
    tricks = _module("cupy.lib.stride_tricks", sliding_window_view=sliding_window_view, as_strided=as_strided)
    lib = _module("cupy.lib", stride_tricks=tricks)
    cupy: ModuleType = _module(
        "cupy",
        __version__="14.2.0",
        cuda=cuda,
        lib=lib,
        get_array_module=lambda *xs: (
            cupy if any(isinstance(x, ndarray) for x in xs) else importlib.import_module("numpy")
        ),
        get_default_memory_pool=lambda: memory.POOL,
        **NAMESPACE,
    )
    special = _module("cupyx.scipy.special", **{name: _special(name) for name in ("erf", "erfc", "erfinv", "gammaln")})
    scipy = _module("cupyx.scipy", special=special)
    cupyx = _module("cupyx", scipy=scipy, empty_pinned=memory.empty_pinned, errstate=_errstate)
    found = (cupy, cuda, collective, lib, tricks, cupyx, scipy, special)
    return {module.__name__: module for module in found}


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name, "Stands in for CuPy; see minitrain.testing.cuda.fake.")
    module.__path__ = []  # a package, so that its parts can be imported
    vars(module).update(contents)
    return module


def _special(name: str) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        function = getattr(importlib.import_module("scipy.special"), name)
        return compute(name, function, *args, **options)

    return call


@contextmanager
def _errstate(**options: Any) -> Iterator[None]:
    yield
