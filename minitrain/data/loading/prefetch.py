"""Prepares batches in the background while the model works on the last one.

A thread runs a few batches ahead of the consumer. The consumer sees no difference: batches and their order, errors, and
the position, which is that after the last batch *taken*, stay the same.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

from ...errors import ConfigError
from ...files import Closing
from ...states import Whole, checked
from .batches import Loader, checked_step
from .parts import some_micro_batches
from .stream import Batches, BatchIterator


class _Prepared(NamedTuple):
    """A batch and the position after it, or the error that ended the thread."""

    batch: Any
    state: dict[str, Any]
    error: BaseException | None


class _Worker:
    """A thread that reads ahead. It has no reference to its consumer, so it cannot keep it alive."""

    def __init__(self, stream: BatchIterator, depth: int) -> None:
        self.stream = stream
        self.prepared: SimpleQueue[_Prepared] = SimpleQueue()
        self.room = threading.Semaphore(depth)
        self.stopping = False
        self.thread = threading.Thread(target=self._run, name="minitrain-prefetch", daemon=True)
        self.thread.start()

    def take(self) -> _Prepared:
        """Wait for the next batch."""
        prepared = self.prepared.get()
        self.room.release()
        return prepared

    def stop(self) -> None:
        """Wait until the thread has finished its current batch, and end it."""
        self.stopping = True
        self.room.release()
        if threading.current_thread() is not self.thread:  # the garbage collector runs in any thread
            self.thread.join()

    def _run(self) -> None:
        while True:
            self.room.acquire()
            if self.stopping:
                return
            try:
                batch = next(self.stream)
                prepared = _Prepared(batch, self.stream.state_dict(), None)
            except BaseException as error:  # also the end of the stream; raised again when the batch is taken
                self.prepared.put(_Prepared(None, {}, error))
                return
            self.prepared.put(prepared)


class Prefetch(Closing):
    """A stream of batches that is read ahead in a thread; a `BatchIterator`.

    The thread starts with the first batch. It ends with ``close``, at the end of a ``with`` block, when the stream
    ends or fails, or when this object is garbage-collected. An error of the stream is raised when its batch would be
    taken, with the traceback of the thread. Nothing else may read from ``stream`` in the meantime.

    Attributes:
        stream: the stream to read.
        depth: how many batches may be ready at once.
    """

    def __init__(self, stream: BatchIterator, depth: int = 2) -> None:
        """Read ``stream`` from its current position on.

        Raises:
            ConfigError: if ``depth`` is below 1.
        """
        if depth < 1:
            raise ConfigError(f"depth={depth} of a prefetch must be at least 1: it is the number of batches read ahead")
        self.stream, self.depth = stream, depth
        self._state = stream.state_dict()
        self._worker: _Worker | None = None
        self._finalizer: Any = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """The next batch of the stream.

        Raises:
            StopIteration: if the stream ends.
            Exception: any error of the stream.
        """
        if self._worker is None:
            self._worker = _Worker(self.stream, self.depth)
            self._finalizer = weakref.finalize(self, self._worker.stop)
        try:
            batch, state, error = self._worker.take()
            if error is not None:
                raise error
        except BaseException:  # even Ctrl-C while waiting
            self.close()
            raise
        finally:
            error = None  # its traceback refers to this frame, a cycle that would keep both alive
        self._state = state
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch taken, however many were read ahead."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``; batches read ahead are discarded.

        Raises:
            DataError: if the state is not one of the stream; the position does not change.
        """
        self.close()
        self.stream.load_state_dict(state)
        self._state = self.stream.state_dict()

    def close(self) -> None:
        """End the thread and set the stream to the position after the last batch taken. Reading on starts another."""
        if self._worker is not None:
            self._finalizer()  # stops the worker, once
            self._worker = None
            self.stream.load_state_dict(self._state)


class _Steps(Batches):
    """The micro-batches of a loader, step after step; the position includes how batches are split."""

    accumulation = 1
    wanted: range | None = None  # of the micro-batches; all without it

    def __next__(self) -> Any:
        if self.wanted is None:
            parts = self.loader.micro_batches(self.step, self.accumulation)
        else:
            parts = some_micro_batches(self.loader, self.step, self.accumulation, self.wanted)
        self.step += 1
        return parts

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "accumulation": self.accumulation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        state = checked("loader", state, {"step": Whole(), "accumulation": Whole(low=1)})
        super().load_state_dict(state)
        self.accumulation = state["accumulation"]


class PrefetchLoader(Closing):
    """A loader whose next micro-batches are prepared in the background; a `Loader`.

    Steps requested in order come from the thread; any other step restarts it there. The batches are those of the loader
    itself.

    Attributes:
        loader: the loader that prepares the batches.
    """

    def __init__(self, loader: Loader, depth: int = 2) -> None:
        """Read ahead from ``loader``, at most ``depth`` batches.

        Raises:
            ConfigError: if ``depth`` is below 1.
        """
        self.loader = loader
        self._steps = _Steps(loader)
        self._ahead = Prefetch(self._steps, depth)

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every sample comes at least once."""
        return self.loader.steps_per_epoch

    def batch(self, step: int) -> Any:
        """The whole batch of step ``step``, directly from the loader."""
        return self.loader.batch(step)

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample.

        Raises:
            MinitrainError: any error of the loader.
        """
        return self._take(step, accumulation, None)

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, Any]]:
        """The micro-batches ``wanted`` of `micro_batches`; the others are not read if the loader knows how.

        Raises:
            MinitrainError: any error of the loader.
        """
        return self._take(step, accumulation, wanted)

    def _take(self, step: int, accumulation: int, wanted: range | None) -> list[tuple[int, Any]]:
        if self._steps.wanted != wanted:
            self._ahead.close()
            self._steps.wanted = wanted
        place = {"step": checked_step(step), "accumulation": accumulation}
        if self._ahead.state_dict() != place:
            self._ahead.load_state_dict(place)
        parts: list[tuple[int, Any]] = next(self._ahead)
        return parts

    def close(self) -> None:
        """End the thread. The next batch starts a new one."""
        self._ahead.close()
