"""The choice of a GPU by its name: ``"cuda"`` is the current one, ``"cuda:1"`` the second."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ...errors import DeviceError
from ..devices import require_gpu


def gpu_number(device: str) -> int | None:
    """The number in ``"cuda:N"``; ``None`` for ``"cuda"``.

    Raises:
        DeviceError: if it is no name of a GPU.
    """
    kind, colon, number = device.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise DeviceError(f"unknown device {device!r}: use 'cpu', 'cuda' or 'cuda:N', where N is the number of a GPU")
    return int(number) if colon else None


def use_gpu(device: str) -> ModuleType:
    """CuPy, with the named GPU as the current one of this thread. ``"cuda"`` leaves the current one.

    Raises:
        DeviceError: if ``device`` is no name of a GPU, or there is no such GPU.
    """
    number = gpu_number(device)
    cupy: Any = require_gpu()
    if number is None:
        return cupy  # type: ignore[no-any-return]
    runtime = cupy.cuda.runtime
    if number >= (count := runtime.getDeviceCount()):
        there = "the only GPU is cuda:0" if count == 1 else f"the {count} GPUs are cuda:0 to cuda:{count - 1}"
        raise DeviceError(f"device {device!r} is not there: {there}")
    if runtime.getDevice() != number:
        runtime.setDevice(number)
    return cupy  # type: ignore[no-any-return]


def check_float8_device(device: str) -> None:
    """Refuse a device that cannot multiply in 8 bits.

    Args:
        device: its name.

    Raises:
        DeviceError: if it is a CPU, there is no such GPU, or its compute capability is below 8.9.
    """
    if device == "cpu":
        raise DeviceError(
            "precision=float8 multiplies on the tensor cores of a GPU, and no CPU has such units: use device=cuda, or "
            "precision=bfloat16"
        )
    check_float8_capability(use_gpu(device).cuda.Device().compute_capability)


def check_float8_capability(capability: str) -> None:
    """Refuse a card without tensor cores for 8 bits.

    Args:
        capability: its compute capability as CuPy says it, such as ``"90"``.

    Raises:
        DeviceError: if it is below 8.9, the Ada architecture.
    """
    if int(capability) < 89:
        raise DeviceError(
            "products in float8 need compute capability 8.9 or newer (RTX 40, H100 and later), and this card has "
            f"{capability[:-1]}.{capability[-1]}: use precision=bfloat16"
        )


def describe_gpus(cupy: Any) -> str:
    """One line for each GPU: its name, compute capability and memory."""
    lines = []
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        found = cupy.cuda.runtime.getDeviceProperties(number)
        name, memory = found["name"].decode(), found["totalGlobalMem"] / (1 << 30)
        lines.append(f"cuda:{number}: {name}, compute capability {found['major']}.{found['minor']}, {memory:.0f} GiB")
    return "\n".join(lines)
