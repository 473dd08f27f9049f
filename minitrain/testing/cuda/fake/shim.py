"""Kernels on the emulated device: launches go to the emulator, ordered on streams and captured in graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from ....backend.cuda.launch import set_launcher
from ....backend.cuda.source import Declaration
from ..emulator import Emulator
from . import record
from .array import ndarray, touch
from .streams import recording


class Shim:
    """Runs launches on the memory of the emulated device.

    Args:
        emulator: runs them.
    """

    takes_host_arrays = False

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    def shared_memory_limit(self) -> int:
        """See ``Launcher``."""
        return self.emulator.shared_memory_limit()

    def launch(
        self,
        kernel: Declaration,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Any],
        shared: int,
    ) -> None:
        """See ``Launcher.launch``. A signature does not say what is only read, so all arrays count as written."""
        arrays = [x for x in arguments if isinstance(x, ndarray)]
        touch([], arrays)
        record.launched(kernel.name, grid, block, [(x.dtype, x.shape) for x in arrays])

        self.emulator.launch(kernel, grid, block, arguments, shared)
        if (noted := recording()) is not None:
            places = [Place(x) if isinstance(x, ndarray) else x for x in arguments]
            noted.add(kernel.name, lambda: self.emulator.launch(kernel, grid, block, places, shared))


class Place:
    """The memory of an array without the array, as a graph keeps it: the array may be gone, and its memory reused."""

    __module__ = "cupy"

    def __init__(self, x: ndarray) -> None:
        self.data = SimpleNamespace(ptr=x.data.ptr)
        self.shape, self.strides, self.dtype = x.shape, x.strides, x.dtype
        self.size, self.itemsize, self.nbytes, self.flags = x.size, x.itemsize, x.nbytes, x.flags


@contextmanager
def emulated_kernels(emulator: Emulator) -> Iterator[Shim]:
    """Let ``emulator`` run all launches on the emulated device, inside the ``with`` block."""
    shim = Shim(emulator)
    before = set_launcher(shim)
    try:
        yield shim
    finally:
        set_launcher(before)
