"""Finds a GPU, or says exactly why there is none."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from ..errors import DeviceError


@functools.cache
def gpu_status() -> tuple[ModuleType | None, str]:
    """CuPy and the name of the first GPU, or ``None`` and the reason why no GPU can be used."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        return None, f"CuPy is not installed ({error}); install it with: pip install 'minitrain[gpu]'"
    try:
        if cupy.cuda.runtime.getDeviceCount() == 0:
            return None, "CuPy is installed, but the driver lists no GPU"
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except Exception as error:  # CuPy raises its own CUDARuntimeError, known only once it is imported
        return None, f"CuPy is installed, but CUDA does not work here: {error}"
    return cupy, name


def require_gpu() -> ModuleType:
    """CuPy, ready to use.

    Raises:
        DeviceError: if there is no usable GPU.
    """
    cupy, description = gpu_status()
    if cupy is None:
        raise DeviceError(f"no GPU can be used: {description}. Use device=cpu to run on the CPU")
    return cupy
