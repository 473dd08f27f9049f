"""The thread that drives an engine, and what requests of the event loop see of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ..errors import MinitrainError
from ..generation import Engine, Event, Grammar, SamplingParams
from ..generation.sessions.session import Session, Tokens

T = TypeVar("T")
Deliver = Callable[[Event], None]


class BusyError(MinitrainError):
    """There are as many requests as the server takes."""


class ClosedError(MinitrainError):
    """The server is stopping."""


class Turns:
    """Lets threads do something one at a time, in the order in which they came.

    The engines of two models take turns, because a step of one uses all cores. A plain lock would let one engine starve
    the other.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._given = self._called = 0

    def __enter__(self) -> None:
        with self._changed:
            mine = self._given
            self._given += 1
            while mine != self._called:
                self._changed.wait()

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._called += 1
            self._changed.notify_all()


class Worker:
    """Runs a session's engine in a thread of its own, for requests from any thread.

    Args:
        session: the model's session; nobody else may use it.
        requests: the most unfinished requests.
        turns: shared with the workers of other models.

    Attributes:
        tokens: how many tokens were generated since the start.
    """

    def __init__(self, session: Session, *, requests: int = 128, turns: Turns | None = None) -> None:
        self._turns = turns or Turns()
        self.slots, self.longest, self.requests, self.tokens = session.slots, session.longest, requests, 0
        self._engine = Engine(session)
        self._changed = threading.Condition()
        # All of these are read and written under the condition's lock.
        self._streams: dict[int, _Stream] = {}
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._drive, name="minitrain-engine", daemon=True)
        self._thread.start()

    @property
    def unfinished(self) -> int:
        """How many requests run or wait."""
        return len(self._streams)

    @property
    def running(self) -> int:
        """How many slots are in use. Another thread changes it: a number to show."""
        while True:
            try:
                return self._engine.running
            except RuntimeError:  # it changed while it was counted
                time.sleep(0)

    def submit(self, prompt: Any, params: SamplingParams, deliver: Deliver) -> int:
        """Add a request.

        Args:
            prompt: token ids (n,).
            params: how its tokens are chosen.
            deliver: called with each event of the request, in the engine's thread; it must not wait or raise.

        Returns:
            The number of the request, for `cancel`.

        Raises:
            BusyError: if there are too many requests.
            ClosedError: after `close`.
            MinitrainError: if the prompt is refused, see `Engine.submit`.
        """
        with self._changed:
            if self._closing:
                raise ClosedError("the server is stopping")
            if len(self._streams) >= self.requests:
                raise BusyError(f"{self.requests} requests run or wait, which is all that this server takes: try later")
            number = self._engine.submit(prompt, params)
            self._streams[number] = _Stream(deliver, params.num_samples)
            self._changed.notify()
            return number

    def cancel(self, number: int) -> None:
        """End a request at the next step; one that has ended stays as it is."""
        with self._changed:
            if number in self._streams:
                self._engine.cancel(number)
                self._changed.notify()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run a function in the engine's thread, between two steps: the model is used by one thread at a time.

        Raises:
            ClosedError: after `close`.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closing:
                raise ClosedError("the server is stopping")
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """End all requests with an event that has a `ClosedError`, and wait for the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _drive(self) -> None:
        try:
            while True:
                with self._changed:
                    while not (self._closing or self._calls or self._engine.busy):
                        self._changed.wait()
                    if self._closing:
                        return
                    calls, self._calls = self._calls, deque()
                for function, future in calls:
                    with self._turns:
                        _answer(function, future)
                if self._engine.busy:
                    self._step()
        finally:
            self._end_all(ClosedError("the server is stopping"))

    def _step(self) -> None:
        try:
            with self._turns:
                events = self._engine.step()
        except Exception as error:  # out of memory, perhaps: those that ran have lost their place, the next may do
            self._end_all(error)
            return
        with self._changed:
            for event in events:
                self._tell(event)

    def _tell(self, event: Event) -> None:
        stream = self._streams[event.request]
        self.tokens += event.token is not None
        stream.unfinished -= event.finish_reason is not None
        if not stream.unfinished:
            del self._streams[event.request]
        stream.deliver(event)

    def _end_all(self, error: Exception) -> None:
        self._engine.close()
        with self._changed:
            for number, stream in self._streams.items():
                stream.deliver(Event(number, 0, None, finish_reason="error", error=error))
            self._streams.clear()
            calls, self._calls = self._calls, deque()
        for _, future in calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


class _Stream:
    """Where the events of a request go."""

    __slots__ = ("deliver", "unfinished")

    def __init__(self, deliver: Deliver, samples: int) -> None:
        self.deliver, self.unfinished = deliver, samples


def _answer(function: Callable[[], Any], future: Future[Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)


class Generation:
    """The events of some prompts as they come: what a request of the event loop generates.

    Whoever makes one closes it, which frees the slots of what is unfinished.

    Args:
        worker: the model's.
        prompts: token ids (n,) each.
        params: for all of them.
        grammar: the form that their texts must have.

    Raises:
        BusyError: see `Worker.submit`; no request is left behind then.
    """

    def __init__(
        self, worker: Worker, prompts: Sequence[Tokens], params: SamplingParams, grammar: Grammar | None = None
    ) -> None:
        self.worker = worker
        self._left = len(prompts) * params.num_samples
        self._loop, self._queue = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Event]]()
        self._numbers: list[int] = []
        try:
            for index, prompt in enumerate(prompts):
                own = params if grammar is None else replace(params, processor=grammar.after(prompt))
                self._numbers.append(worker.submit(prompt, own, partial(self._deliver, index)))
        except BaseException:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        """The index of the prompt and its event, until the last one; an error of a request is raised."""
        while self._left:
            index, event = await self._queue.get()
            if event.error is not None:
                raise event.error
            self._left -= event.finish_reason is not None
            yield index, event

    def cancel(self, index: int) -> None:
        """End the request of a prompt; its last event comes all the same."""
        self.worker.cancel(self._numbers[index])

    def close(self) -> None:
        """End what is unfinished."""
        for number in self._numbers:
            self.worker.cancel(number)

    def _deliver(self, index: int, event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (index, event))
