"""Calls of a group beside the computation, one after the other in the order in which they are given.

For arrays of the CPU they run in a thread (`Background`). For those of a GPU they are put on a stream beside the one
that computes (`OnStream`), and the host waits for nothing.

All ranks must make the same calls in the same order. So while calls are in the background, the thread that gave them
makes none itself: it calls ``wait`` before.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from ..backend.arrays import Array, array_module, is_cupy
from ..backend.cuda.streams import exchange_stream

Work = Callable[[], object]


class Background:
    """A thread for some calls, from the first `submit` until `wait`.

    A thread is started for every batch of calls, which takes a tenth of a millisecond, so that none is left behind when
    a training ends somewhere in between.

    Args:
        most: how many calls may be under way or wait for their turn; `submit` then waits too. ``None`` for any number.

    Attributes:
        busy: seconds that calls have taken in the background so far.
        waited: seconds that `wait` and `submit` have waited for them.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.busy = self.waited = 0.0
        self._batch: _Batch | None = None

    @property
    def hidden(self) -> float:
        """The share of the time of all calls that passed while this rank computed something else."""
        return 1 - min(1.0, self.waited / self.busy) if self.busy else 0.0

    def submit(self, work: Work) -> None:
        """Have ``work`` called after all that was submitted before. After an error nothing more is called."""
        if self._batch is None:
            self._batch = _Batch(self.most)
        started = time.perf_counter()
        self._batch.put(work)
        self.waited += time.perf_counter() - started

    def wait(self) -> None:
        """Return when everything is done.

        Raises:
            BaseException: what the first call that failed has raised.
        """
        batch, self._batch = self._batch, None
        if batch is None:
            return
        started = time.perf_counter()
        batch.queue.put(None)
        batch.join()
        self.waited += time.perf_counter() - started
        self.busy += batch.busy
        if batch.error is not None:
            raise batch.error

    def abandon(self) -> None:
        """Let the thread end by itself, after an error that ends the training: a peer may never answer."""
        if self._batch is not None:
            self._batch.queue.put(None)
            self._batch = None


class OnStream:
    """Calls that put work on a stream beside the current one, which computes.

    The work begins when what was enqueued on the current stream before `submit` is done. What is enqueued there after
    `wait` begins when the work is done.

    Args:
        xp: CuPy.
    """

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def submit(self, work: Work) -> None:
        """Call ``work`` now, in this thread; what it enqueues goes on the other stream."""
        stream = exchange_stream(self.xp)
        stream.wait_event(self.xp.cuda.get_current_stream().record())
        with stream:
            work()

    def wait(self) -> None:
        """Let the current stream wait for the work, but not the host."""
        self.xp.cuda.get_current_stream().wait_event(exchange_stream(self.xp).record())

    def abandon(self) -> None:
        """Nothing: no thread is left behind."""


def beside(array: Array, most: int | None = None) -> Background | OnStream:
    """An `OnStream` for calls about an array of a GPU, a `Background` with ``most`` for others."""
    return OnStream(array_module(array)) if is_cupy(array) else Background(most)


class _Batch(threading.Thread):
    """The thread itself."""

    def __init__(self, most: int | None) -> None:
        super().__init__(name="minitrain-collectives", daemon=True)
        self.context = contextvars.copy_context()  # such as how NumPy treats an overflow
        self.queue: SimpleQueue[Work | None] = SimpleQueue()
        self.free = None if most is None else threading.Semaphore(most)
        self.error: BaseException | None = None
        self.busy = 0.0
        self.start()

    def put(self, work: Work) -> None:
        if self.free is not None:
            self.free.acquire()
        self.queue.put(work)

    def run(self) -> None:
        self.context.run(self._call_all)

    def _call_all(self) -> None:
        while (work := self.queue.get()) is not None:
            if self.error is None:
                started = time.perf_counter()
                try:
                    work()
                except BaseException as error:
                    self.error = error
                self.busy += time.perf_counter() - started
            if self.free is not None:
                self.free.release()
