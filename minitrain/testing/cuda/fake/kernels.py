"""Kernels on the emulated device: they run in the emulator, ordered on streams and captured in graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ....backend.arrays import is_cupy
from ....backend.cuda.source import Declaration
from ..emulator import Emulator, emulate
from .streams import current_stream


class StreamEmulator(Emulator):
    """An emulator whose launches are work of the current stream.

    A launch reads all its arrays, and writes those whose bytes are others afterwards.
    """

    takes_host_arrays = False

    def launch(
        self,
        kernel: Declaration,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[Any],
        shared: int,
    ) -> None:
        """See ``Launcher.launch``."""
        stream = current_stream()
        number = stream.work()
        arrays = [x for x in arguments if is_cupy(x)]
        for x in arrays:
            x.data.mem.marks.read(stream, number)
            if stream.recording is not None:
                stream.recording.keep(x.data.mem)
        before = [x._host.tobytes() for x in arrays]
        super().launch(kernel, grid, block, arguments, shared)
        for x, content in zip(arrays, before, strict=True):
            if x._host.tobytes() != content:
                x.data.mem.marks.write(stream, number)
        if stream.recording is not None:
            places = [Place(x) if is_cupy(x) else x for x in arguments]  # no array lives longer than on a device
            plain = super().launch
            stream.recording.add(kernel.name, lambda: plain(kernel, grid, block, places, shared))


class Place:
    """The memory of an array without the array: what a launch needs to know, as in a graph."""

    __module__ = "cupy"

    def __init__(self, x: Any) -> None:
        self.shape, self.strides = x.shape, x.strides
        self.size, self.itemsize = x.size, x.itemsize
        self.data = _Address(int(x.data.ptr))


class _Address:
    def __init__(self, ptr: int) -> None:
        self.ptr = ptr


_shared: list[StreamEmulator] = []


@contextmanager
def emulated_kernels() -> Iterator[StreamEmulator]:
    """Launch through the emulator inside the ``with`` block. It keeps the libraries that it has loaded."""
    if not _shared:
        _shared.append(StreamEmulator())
    with emulate(_shared[0]):
        yield _shared[0]
