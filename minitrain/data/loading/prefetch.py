"""Batches prepared in the background, while the model is busy with the last one.

A thread runs ahead of the consumer by a few batches. Everything that a consumer can see stays as without it: the
batches and their order, the errors, and the position, which is that behind the last batch *taken*.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Self

from ...errors import ConfigError
from ...states import Whole, checked
from .batches import Loader, checked_step
from .stream import Batches, BatchIterator


class _Prepared(NamedTuple):
    """What the thread hands over: a batch and the position behind it, or the error that ended it."""

    batch: Any
    state: dict[str, Any]
    error: BaseException | None


class _Worker:
    """A thread that reads ahead. It knows nothing of its consumer, so that it cannot keep it alive."""

    def __init__(self, stream: BatchIterator, depth: int) -> None:
        self.stream = stream
        self.prepared: SimpleQueue[_Prepared] = SimpleQueue()
        self.room = threading.Semaphore(depth)
        self.stopping = False
        self.thread = threading.Thread(target=self._run, name="minitrain-prefetch", daemon=True)
        self.thread.start()

    def take(self) -> _Prepared:
        """The next batch; waits for it."""
        prepared = self.prepared.get()
        self.room.release()
        return prepared

    def stop(self) -> None:
        """Let the thread finish the batch at hand, and wait for that."""
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
            except BaseException as error:  # the end of the stream too; raised again where the batch is wanted
                self.prepared.put(_Prepared(None, {}, error))
                return
            self.prepared.put(prepared)


class Prefetch:
    """A stream of batches that is read ahead in a thread; a `BatchIterator`.

    The thread starts with the first batch. It ends with ``close``, at the end of a ``with`` block, when the stream
    ends or fails, or when nobody refers to this object any more. An error of the stream is raised where its batch
    would have been, with the traceback of the thread. Nothing else may read from ``stream`` meanwhile.

    Attributes:
        stream: what is read.
        depth: how many batches may be ready and waiting.
    """

    def __init__(self, stream: BatchIterator, depth: int = 2) -> None:
        """Take up ``stream`` where it is.

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
            Exception: whatever the stream raised.
        """
        if self._worker is None:
            self._worker = _Worker(self.stream, self.depth)
            self._finalizer = weakref.finalize(self, self._worker.stop)
        try:
            batch, state, error = self._worker.take()
            if error is not None:
                raise error
        except BaseException:  # Ctrl-C while waiting, too
            self.close()
            raise
        finally:
            error = None  # its traceback refers to this frame: without this, both would live on
        self._state = state
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last batch taken, whatever was read ahead."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state``; what was read ahead is thrown away.

        Raises:
            DataError: if the state is not one of the stream; the position stays.
        """
        self.close()
        self.stream.load_state_dict(state)
        self._state = self.stream.state_dict()

    def close(self) -> None:
        """End the thread and put the stream back behind the last batch taken. Going on starts another thread."""
        if self._worker is not None:
            self._finalizer()  # stops the worker, once
            self._worker = None
            self.stream.load_state_dict(self._state)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Steps(Batches):
    """The micro-batches of a loader, step after step; the position includes how batches are split."""

    accumulation = 1

    def __next__(self) -> Any:
        parts = self.loader.micro_batches(self.step, self.accumulation)
        self.step += 1
        return parts

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "accumulation": self.accumulation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        state = checked("loader", state, {"step": Whole(), "accumulation": Whole(low=1)})
        super().load_state_dict(state)
        self.accumulation = state["accumulation"]


class PrefetchLoader:
    """A loader whose next micro-batches are prepared in the background; a `Loader`.

    Steps asked for in order come from the thread; any other step makes it begin anew there. What comes is what the
    loader itself would have given.

    Attributes:
        loader: prepares the batches.
    """

    def __init__(self, loader: Loader, depth: int = 2) -> None:
        """Read ahead of ``loader``, ``depth`` batches at most.

        Raises:
            ConfigError: if ``depth`` is below 1.
        """
        self.loader = loader
        self._ahead = Prefetch(_Steps(loader), depth)

    @property
    def steps_per_epoch(self) -> int:
        """After so many steps every sample has come."""
        return self.loader.steps_per_epoch

    def batch(self, step: int) -> Any:
        """The batch of step ``step``, whole; it comes straight from the loader."""
        return self.loader.batch(step)

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample.

        Raises:
            MinitrainError: what the loader raises.
        """
        wanted = {"step": checked_step(step), "accumulation": accumulation}
        if self._ahead.state_dict() != wanted:
            self._ahead.load_state_dict(wanted)
        parts: list[tuple[int, Any]] = next(self._ahead)
        return parts

    def close(self) -> None:
        """End the thread. Another batch starts another."""
        self._ahead.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
