"""The launcher of a device: kernels compiled for its compute capability, loaded and started by CuPy.

It has not met a device yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..devices import require_gpu
from .cubin_cache import load_or_compile
from .source import Declaration, SourceFile

_NULL = np.uintp(0)
_FREE_SHARED = 48 * 1024  # what a kernel may use without asking


class DeviceLauncher:
    """Runs launches on the current device and stream of CuPy. A file is loaded when its first kernel is launched.

    Raises:
        DeviceError: if there is no usable GPU.
    """

    takes_host_arrays = False

    def __init__(self) -> None:
        self._cupy: Any = require_gpu()
        self._modules: dict[tuple[SourceFile, int, int], tuple[Any, dict[str, str]]] = {}
        self._functions: dict[tuple[Declaration, int], Any] = {}
        self._limits: dict[int, int] = {}

    def shared_memory_limit(self) -> int:
        """Bytes of shared memory that a block may have if it asks."""
        device = self._cupy.cuda.Device()
        if device.id not in self._limits:
            self._limits[device.id] = device.attributes["MaxSharedMemoryPerBlockOptin"]
        return self._limits[device.id]

    def launch(
        self,
        kernel: Declaration,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Any],
        shared: int,
    ) -> None:
        """See ``Launcher.launch``."""
        device = self._cupy.cuda.runtime.getDevice()
        function = self._functions.get((kernel, device))
        if function is None:
            function = self._functions[kernel, device] = self._load(kernel, device)
        if shared > _FREE_SHARED and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        values = [
            (_NULL if x is None else x) if parameter.is_array else parameter.type.scalar(x)
            for parameter, x in zip(kernel.parameters, arguments, strict=True)
        ]
        function(grid, block, values, shared_mem=shared)

    def _load(self, kernel: Declaration, device: int) -> Any:
        source = kernel.source
        key = source, device, len(source.kernels)  # a kernel may be declared after the first launch
        if key not in self._modules:
            capability = self._cupy.cuda.Device(device).compute_capability  # "90"
            cubin = load_or_compile(source, f"sm_{capability}")
            self._modules[key] = self._cupy.RawModule(path=str(cubin.path)), cubin.lowered
        module, lowered = self._modules[key]
        return module.get_function(lowered[kernel.name])
