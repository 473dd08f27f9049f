"""Devices and the part of CUDA's runtime that minitrain asks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from . import record
from .capture import refuse
from .streams import STREAMS, current_device, recording, set_device
from .usage import USAGE

NAME = "an emulated device (no GPU)"
TOTAL_MEMORY = 80 << 30


class CUDARuntimeError(RuntimeError):
    """An error of CUDA's runtime."""

    __module__ = "cupy_backends.cuda.api.runtime"


class Settings:
    """The properties of the emulated machine.

    Attributes:
        devices: how many devices there are.
        capability: their compute capability, such as ``"90"``.
    """

    devices = 1
    capability = "90"


class Device:
    """One device; inside ``with Device(1):`` new arrays lie there."""

    def __init__(self, device: Any = None) -> None:
        self.id: int = current_device() if device is None else int(device)
        self._outer: list[int] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __int__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        self._outer.append(current_device())
        self.use()
        return self

    def __exit__(self, *error: object) -> None:
        set_device(self._outer.pop())

    def use(self) -> None:
        """Make it the current device."""
        _check(self.id)
        set_device(self.id)

    def synchronize(self) -> None:
        """Wait until all its work is done."""
        synchronize()

    @property
    def pci_bus_id(self) -> str:
        """Where it is in the machine."""
        return f"0000:{self.id + 1:02X}:00.0"

    @property
    def compute_capability(self) -> str:
        """Such as ``"90"``."""
        return Settings.capability

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        return TOTAL_MEMORY - USAGE.used, TOTAL_MEMORY

    @property
    def attributes(self) -> dict[str, Any]:
        """Limits, under the names that CuPy gives."""
        return {
            "MultiProcessorCount": 132,
            "MaxSharedMemoryPerBlockOptin": 232_448,
            "MaxSharedMemoryPerBlock": 49_152,
            "MaxThreadsPerBlock": 1024,
            "WarpSize": 32,
        }


def synchronize() -> None:
    """Wait until all work on all streams is done."""
    refuse(recording(), "the host waits for the device")
    record.synchronised()
    for stream in list(STREAMS.values()):
        stream.finish(stream.done, stream.seen)


def properties(device: int) -> dict[str, Any]:
    """The properties of a device, as ``cudaGetDeviceProperties`` returns them."""
    _check(device)
    major, minor = int(Settings.capability[:-1]), int(Settings.capability[-1])
    return {
        "name": NAME.encode(),
        "major": major,
        "minor": minor,
        "totalGlobalMem": TOTAL_MEMORY,
        "multiProcessorCount": 132,
        "sharedMemPerBlockOptin": 232_448,
        "maxThreadsPerBlock": 1024,
        "warpSize": 32,
    }


def _check(device: int) -> None:
    if not 0 <= device < Settings.devices:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")


runtime = SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    getDeviceCount=lambda: Settings.devices,
    getDeviceProperties=properties,
    getDevice=current_device,
    setDevice=lambda device: Device(device).use(),
    deviceSynchronize=synchronize,
    memGetInfo=lambda: Device().mem_info,
    runtimeGetVersion=lambda: 13_000,
    driverGetVersion=lambda: 13_000,
    is_hip=False,
)
"""Stands in for ``cupy.cuda.runtime``."""
