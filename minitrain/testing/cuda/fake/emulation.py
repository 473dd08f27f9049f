"""``with emulated_device():`` puts the emulated library in CuPy's place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

from ....backend import deferred
from ....backend.devices import gpu_status
from ....errors import ConfigError
from .. import nccl
from ..emulator import Emulator
from . import library, memory, record, streams
from .devices import Settings
from .products import emulated_products
from .shim import emulated_kernels

PACKAGES = ("cupy", "cupyx", "cupy_backends")


class EmulatedDevice:
    """The emulated device as a test sees it.

    Attributes:
        cupy: the module that stands in for CuPy.
    """

    def __init__(self, cupy: ModuleType) -> None:
        self.cupy = cupy

    counting = staticmethod(record.counting)
    """``with device.counting() as counts:`` counts what happens inside, see `Counts`."""


@contextmanager
def emulated_device(
    devices: int = 1, capability: str = "90", emulator: Emulator | None = None
) -> Iterator[EmulatedDevice]:
    """Inside the ``with`` block ``device="cuda"`` works on any machine: arrays lie in host memory.

    Functions of arrays are computed by NumPy, kernels of ``minitrain.kernels.cuda`` by the emulator. Nothing is fast.

    Args:
        devices: how many devices there are.
        capability: their compute capability, which kernels are chosen by.
        emulator: runs the kernels, for which it needs g++; by default once each, on the arrays themselves.

    Yields:
        The device, for its counts.

    Raises:
        ConfigError: if a device is emulated already.

    Example:
        ```python
        with emulated_device() as device, device.counting() as counts:
            x = to_device(np.ones(3), "cuda")
            y = to_numpy(2 * x)
        assert (counts.to_device, counts.to_host, counts.synchronisations) == (1, 1, 1)
        ```
    """
    if isinstance(sys.modules.get("cupy"), ModuleType) and getattr(sys.modules["cupy"], "_emulated", False):
        raise ConfigError("a device is emulated already: leave the outer `with emulated_device()` first")
    saved = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES}
    found = library.modules()
    found["cupy"]._emulated = True  # type: ignore[attr-defined]
    before = Settings.devices, Settings.capability
    Settings.devices, Settings.capability = devices, capability
    streams.reset()
    for name in saved:
        del sys.modules[name]
    sys.modules.update(found)
    gpu_status.cache_clear()
    try:
        with ExitStack() as kernels:
            _use_shim(kernels, Emulator(guard=False) if emulator is None else emulator)
            yield EmulatedDevice(found["cupy"])
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
            del sys.modules[name]
        sys.modules.update(saved)
        Settings.devices, Settings.capability = before
        deferred.forget()
        gpu_status.cache_clear()
        memory.forget_blocks()
        streams.reset()
        nccl.reset()


def _use_shim(kernels: ExitStack, emulator: Emulator) -> None:
    """Run kernels through the emulator, and products through a stand-in for cuBLASLt."""
    kernels.enter_context(emulated_products())
    kernels.enter_context(emulated_kernels(emulator))
