"""Calls of a group in a thread beside the one that computes, one after the other in the order in which they are given.

All ranks must make the same calls in the same order. So while calls are in the background, the thread that gave them
makes none itself: it calls `Background.wait` before.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

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

    def submit(self, work: Work, *, at_once: bool = False) -> None:
        """Have ``work`` called after all that was submitted before. After an error nothing more is called.

        Args:
            work: the call.
            at_once: call it in this thread, now: what is on a GPU is put on the stream of the thread that computes, and
                the host does not wait for it there.
        """
        if at_once:
            work()
            return
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
