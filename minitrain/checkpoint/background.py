"""Writing while training goes on: the state is copied, and a thread writes the copy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import Array, is_array, is_cupy
from .format import Contents

_Place: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead to an array."""


class StateCopy:
    """Copies of a state into memory that is kept for the next copy.

    The arrays of a copy hold until the next one is made. Arrays of a GPU come to the CPU.
    """

    def __init__(self) -> None:
        self._buffers: dict[_Place, NDArray[Any]] = {}

    def of(self, contents: Contents) -> Contents:
        """A copy of ``contents`` that shares nothing with it."""
        old, self._buffers = self._buffers, {}
        return Contents(*(self._copy(part, (i,), old) for i, part in enumerate(contents)))

    def _copy(self, tree: Any, place: _Place, old: Mapping[_Place, NDArray[Any]]) -> Any:
        if is_array(tree):
            buffer = self._buffers[place] = _copy_array(tree, old.get(place))
            return buffer
        if isinstance(tree, Mapping):
            return {name: self._copy(value, (*place, name), old) for name, value in tree.items()}
        if isinstance(tree, list | tuple):
            return [self._copy(value, (*place, i), old) for i, value in enumerate(tree)]
        return tree


def _copy_array(array: Array, buffer: NDArray[Any] | None) -> NDArray[Any]:
    """A copy of ``array``, in ``buffer`` if it fits."""
    if buffer is None or buffer.shape != array.shape or buffer.dtype != array.dtype:
        buffer = np.empty(array.shape, array.dtype)
    if is_cupy(array):
        array.get(out=buffer)  # type: ignore[attr-defined]
    else:
        np.copyto(buffer, array)
    return buffer


class AsyncWriter:
    """Runs one piece of work at a time on a thread, and hands its result or its error to the thread that asks.

    The thread is a daemon: a process that is told to end at once does not wait for it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._deliver: Callable[[], object] = lambda: None

    def start(self, work: Callable[[], Any], done: Callable[[Any], object]) -> None:
        """Begin with ``work``, once the work before it is finished.

        Args:
            work: what the thread does.
            done: called with what ``work`` returned, by `poll` or `finish` and in their thread.

        Raises:
            Exception: whatever the work before it raised; nothing is begun then.
        """
        self.finish()

        def run() -> None:
            try:
                result = work()
            except BaseException as error:
                self._deliver = _raising(error)
            else:
                self._deliver = lambda: done(result)

        thread = threading.Thread(target=run, name="checkpoint", daemon=True)
        thread.start()
        self._thread = thread  # only now: Ctrl-C may come in between, and a thread that did not start cannot be joined

    @property
    def is_running(self) -> bool:
        """Whether a piece of work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def poll(self) -> None:
        """Deliver the result if the work is finished: call ``done``, or raise what the work raised."""
        if self._thread is not None and not self._thread.is_alive():
            self.finish()

    def finish(self) -> None:
        """Wait for the work, and deliver its result."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        self._deliver()


def _raising(error: BaseException) -> Callable[[], object]:
    def deliver() -> None:
        raise error

    return deliver
