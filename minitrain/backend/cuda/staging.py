"""Copies batches to a GPU beside its computation: through pinned memory, on a stream for copies.

A copy from ordinary memory makes the host wait, because the driver must copy the bytes aside first. From *pinned*
memory, which the operating system never moves, the GPU fetches them itself while it computes something else. So a batch
is copied into a pinned buffer, the copy is enqueued on a stream of its own, and the computing stream waits for the
event behind it. The host goes on at once: while the GPU works on step n, the host enqueues step n + 1, and its batch
travels.

Two things could go wrong, and events prevent both:

- The host must not write to a pinned buffer while the copy from it may still be running. There are ``BUFFERS`` sets of
  buffers in turn, and before a set is used again the host waits for the event of its last copy. It is over long since,
  unless the host is several steps ahead.
- CuPy gives memory that was freed to the next array of the same stream, at once: on one stream, the next array's work
  comes later anyway. But a batch is allocated for the stream of copies and read on the other. So its memory is kept
  until nobody holds the arrays, and then until the stream of copies has waited for the work that came before.
"""

from __future__ import annotations

import importlib
import weakref
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array
from .device import use_gpu
from .streams import copy_stream

BUFFERS = 3
"""Sets of pinned buffers: the host can be so many batches ahead of the copies."""
ALIGNMENT = 256


class _Lent(NamedTuple):
    """The arrays of a batch: whether somebody holds them, and their memory."""

    arrays: list[weakref.ref[Any]]
    memory: list[Any]


class _Buffers:
    """Pinned memory for one batch."""

    def __init__(self) -> None:
        self.memory: Any = None  # (n,) uint8, pinned
        self.copied: Any = None  # the event behind the last copy

    def reserve(self, size: int) -> None:
        """Make room for ``size`` bytes, once the last copy is over."""
        if self.copied is not None:
            self.copied.synchronize()
            self.copied = None
        if self.memory is None or self.memory.size < size:
            self.memory = importlib.import_module("cupyx").empty_pinned(size, np.uint8)

    def view(self, start: int, x: Array) -> Array:
        """The bytes from ``start`` on as an array like ``x``, with its content."""
        part: Array = self.memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
        np.copyto(part, x)
        return part


class Staging:
    """Copies the arrays of batches to a GPU without a wait.

    Args:
        device: ``"cuda"`` or ``"cuda:N"``.

    Raises:
        DeviceError: if there is no such GPU.
    """

    def __init__(self, device: str) -> None:
        self.xp: Any = use_gpu(device)
        self._sets = [_Buffers() for _ in range(BUFFERS)]
        self._next = 0
        self._lent: list[_Lent] = []
        self._leaving: list[tuple[Any, list[Any]]] = []  # events of the computing stream, and memory read before them

    def place(self, arrays: list[Array]) -> list[Array]:
        """Copies on the GPU of NumPy arrays, which work on the current stream may use from now on.

        Args:
            arrays: of any shape, dtype and layout; they may be overwritten when this returns.
        """
        stream, computing = copy_stream(self.xp), self.xp.cuda.get_current_stream()
        self._take_back(stream, computing)
        buffers = self._sets[self._next % BUFFERS]
        self._next += 1
        starts = np.cumsum([0, *(-(-x.nbytes // ALIGNMENT) * ALIGNMENT for x in arrays)]).tolist()
        buffers.reserve(max(starts[-1], 1))
        placed = []
        with stream:
            for start, x in zip(starts, arrays, strict=False):
                there = self.xp.empty(x.shape, x.dtype)
                if x.size:
                    there.set(buffers.view(start, x), stream=stream)
                placed.append(there)
            buffers.copied = stream.record()
        computing.wait_event(buffers.copied)
        self._lent.append(_Lent([weakref.ref(x) for x in placed], [x.data for x in placed]))
        return placed

    def _take_back(self, stream: Any, computing: Any) -> None:
        """Let the memory of old batches go, as the module's text says."""
        for event, _ in self._leaving:
            stream.wait_event(event)
        free = [one for one in self._lent if all(array() is None for array in one.arrays)]
        self._lent = [one for one in self._lent if any(array() is not None for array in one.arrays)]
        self._leaving = [(computing.record(), [part for one in free for part in one.memory])] if free else []
