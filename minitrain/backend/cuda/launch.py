"""Launching kernels: a kernel is declared once, and each launch is checked before it reaches the device.

::

    source = Source("norms/layer_norm.cu")  # below minitrain/kernels/cuda
    forward = source.kernel("layer_norm_forward<float>", "f4* x, f4* weight, f4* bias?, ..., i4 rows, f4 eps")
    forward(grid, block, x, weight, bias, ..., rows, eps, shared=0)

A wrong pointer on a device ends the process or, worse, changes somebody else's numbers. So a launch checks the count of
arguments, dtypes, C-contiguity, that all arrays are on one device, and the limits of grid, block and shared memory.

What launches is the *launcher*: CuPy's driver on a device (``device_launcher.py``), or the emulator of the tests.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

from ...errors import DeviceError, ShapeError
from ..arrays import device_of, is_array, is_cupy
from .signature import parse_signature
from .source import Declaration, SourceFile

Size: TypeAlias = int | tuple[int, ...]
"""A grid or a block: up to three sizes."""

MOST_THREADS = 1024
LARGEST_BLOCK = (1024, 1024, 64)
LARGEST_GRID = (2**31 - 1, 65535, 65535)


class Launch(NamedTuple):
    """A launch as ``record_launches`` notes it."""

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int  # bytes of dynamic shared memory
    bytes: int  # of all arrays it was given


class Launcher(Protocol):
    """Runs checked launches."""

    takes_host_arrays: bool
    """Whether arguments may be NumPy arrays."""

    def shared_memory_limit(self) -> int:
        """Bytes of shared memory that a block may have, static and dynamic together."""

    def launch(
        self,
        kernel: Declaration,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Any],
        shared: int,
    ) -> None:
        """Run the kernel; ``arguments`` are arrays, ``None`` and Python numbers, in the order of its parameters."""


class Source(SourceFile):
    """A ``.cu`` file whose kernels Python launches, see `SourceFile`."""

    all: ClassVar[dict[str, Source]] = {}
    """Every source of a file, by its path. Importing a kernel's module adds its own."""

    def __init__(self, path: str, text: str | None = None) -> None:
        super().__init__(path, text)
        if text is None:
            Source.all[path] = self

    def kernel(self, name: str, signature: str) -> Kernel:
        """Declare a kernel.

        Args:
            name: of the function in C++, with its template arguments: ``"layer_norm_forward<float>"``.
            signature: its parameters, see ``signature.py``.
        """
        kernel = Kernel(self, name, parse_signature(name, signature))
        self.kernels.append(kernel)
        return kernel


class Kernel(Declaration):
    """A kernel; calling it launches it. Made by ``Source.kernel``."""

    def __call__(self, grid: Size, block: Size, *arguments: Any, shared: int = 0) -> None:
        """Check and launch. A grid without blocks launches nothing.

        Args:
            grid: number of blocks, up to three sizes.
            block: number of threads in a block, up to three sizes.
            arguments: arrays, C-contiguous unless declared otherwise, and numbers, in the order of the parameters.
            shared: bytes of dynamic shared memory.

        Raises:
            ShapeError: if an argument does not fit its parameter.
            DeviceError: if the launch is too large for the device, or the arrays are on different devices.
        """
        launcher = _current_launcher()
        blocks, threads = _three(grid), _three(block)
        self._check_arguments(arguments, launcher.takes_host_arrays)
        self._check_size(blocks, threads, shared, launcher)
        if _records is not None:
            size = sum(x.nbytes for x in arguments if is_array(x))
            _records.append(Launch(self.name, blocks, threads, shared, size))
        if 0 not in blocks:
            launcher.launch(self, blocks, threads, arguments, shared)

    @functools.cached_property
    def _most_threads(self) -> int:
        """The registers of a thread are chosen for so many threads of a block; a device refuses more."""
        return self.source.launch_bounds().get(self.name.partition("<")[0], MOST_THREADS)

    def _check_arguments(self, arguments: Sequence[Any], host: bool) -> None:
        if len(arguments) != len(self.parameters):
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise ShapeError(f"{self.name} takes {len(self.parameters)} arguments ({names}), got {len(arguments)}")
        device = None
        for parameter, x in zip(self.parameters, arguments, strict=True):
            if not parameter.is_array:
                if isinstance(x, int | float):
                    continue
                raise ShapeError(f"{self.name}: {parameter.name} must be a number, got {type(x).__name__}")
            if x is None:
                if parameter.optional:
                    continue
                raise ShapeError(f"{self.name}: {parameter.name} is missing")
            if not (is_cupy(x) or (host and is_array(x))):
                raise ShapeError(f"{self.name}: {parameter.name} must be a device array, got {type(x).__name__}")
            if x.dtype.name not in parameter.type.dtypes:
                expected = " or ".join(parameter.type.dtypes)
                raise ShapeError(f"{self.name}: {parameter.name} has dtype {x.dtype}, expected {expected}")
            if not parameter.strided and not x.flags.c_contiguous:
                raise ShapeError(f"{self.name}: {parameter.name} of shape {x.shape} is not C-contiguous; copy it first")
            if parameter.strided and min(x.strides, default=0) < 0:
                raise ShapeError(f"{self.name}: {parameter.name} has negative strides {x.strides}; copy it first")
            if device is None:
                device, first = device_of(x), parameter.name
            elif device_of(x) != device:
                raise DeviceError(f"{self.name}: {first} is on {device}, and {parameter.name} is on {device_of(x)}")

    def _check_size(
        self, grid: tuple[int, int, int], block: tuple[int, int, int], shared: int, launcher: Launcher
    ) -> None:
        if math.prod(block) > MOST_THREADS or any(not 1 <= b <= m for b, m in zip(block, LARGEST_BLOCK, strict=True)):
            raise DeviceError(f"{self.name}: a block of {block} threads; a device takes up to {MOST_THREADS} in all")
        if math.prod(block) > self._most_threads:
            raise DeviceError(
                f"{self.name}: a block of {block} threads; its __launch_bounds__ in {self.source.path} allow "
                f"{self._most_threads} in all"
            )
        if any(not 0 <= g <= m for g, m in zip(grid, LARGEST_GRID, strict=True)):
            raise DeviceError(f"{self.name}: a grid of {grid} blocks; a device takes up to {LARGEST_GRID}")
        if shared and not 0 <= shared <= (most := launcher.shared_memory_limit()):
            raise DeviceError(f"{self.name}: {shared} bytes of shared memory; this device has {most} for a block")


def address_of(x: Any) -> int:
    """The address of an array's memory."""
    return int(x.data.ptr if is_cupy(x) else x.ctypes.data)


def byte_range(x: Any) -> tuple[int, int]:
    """The addresses of the first byte of an array without negative strides, and of the one behind its last."""
    start = address_of(x)
    if x.size == 0:
        return start, start
    return start, start + sum((size - 1) * step for size, step in zip(x.shape, x.strides, strict=True)) + int(
        x.itemsize
    )


def _three(size: Size) -> tuple[int, int, int]:
    if isinstance(size, int):
        return size, 1, 1
    return (*size, 1, 1)[:3]  # type: ignore[return-value]


_launcher: Launcher | None = None
_records: list[Launch] | None = None


def _current_launcher() -> Launcher:
    global _launcher
    if _launcher is None:
        from .device_launcher import DeviceLauncher

        _launcher = DeviceLauncher()
    return _launcher


def set_launcher(launcher: Launcher | None) -> Launcher | None:
    """Let ``launcher`` run all launches from now on; ``None`` is the device's. Returns the previous one."""
    global _launcher
    before, _launcher = _launcher, launcher
    return before


def shared_memory_limit() -> int:
    """Bytes of shared memory that a block may have on the current device, static and dynamic together."""
    return _current_launcher().shared_memory_limit()


@contextmanager
def record_launches() -> Iterator[list[Launch]]:
    """A list that notes all launches inside a ``with`` block, in order."""
    global _records
    before, _records = _records, []
    try:
        yield _records
    finally:
        _records = before
