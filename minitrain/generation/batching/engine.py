"""The loop that generates tokens for many requests at once: continuous batching over a session.

Each sample of a request takes a slot of the session while it runs. In each step, every sample that is ready gets its
next token from one call of the model. A sample that ends frees its slot at once, and the next one that waits begins in
the same call as the others go on. What a sample gets depends on its prompt, its parameters and its index alone, never
on its neighbours: the session gives each row its own bits, and each token has its own random number.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from ...backend.arrays import Array
from ...errors import ConfigError, MinitrainError
from ...random import Key, uniform_number
from ..choosing import float_rows
from ..context import restart_length
from ..ending import Detokenize
from ..params import SamplingParams
from ..sessions.session import Session, Tokens
from .requests import Event, Request, Running


class Engine:
    """Generates tokens for requests that come and go.

    One thread drives it: it calls `step` while the engine is `busy`. Other threads may call `submit` and `cancel` at
    any time, which take effect at the next step.

    Args:
        session: the model. The engine uses those of its slots that are free now, until `close`.
        prompt_tokens_per_step: the most tokens of prompts that a step takes in, so that long prompts do not hold up the
            samples that run. What does not fit is taken in by the next steps. ``None`` for no limit.
        detokenizer: makes a function for each sample that turns its tokens into text, one by one; for stop strings.
            It is called with the prompt (n,).

    Raises:
        ConfigError: if no slot is free, or the limit is below 1.

    Example:
        ```python
        engine = Engine(session_for(model, slots=4))
        request = engine.submit([1, 2, 3], SamplingParams(max_new_tokens=10, temperature=0))
        while engine.busy:
            for event in engine.step():
                print(event.token, event.finish_reason)
        ```
    """

    def __init__(
        self,
        session: Session,
        *,
        prompt_tokens_per_step: int | None = 512,
        detokenizer: Detokenize | None = None,
    ) -> None:
        if prompt_tokens_per_step is not None and prompt_tokens_per_step < 1:
            raise ConfigError(f"prompt_tokens_per_step={prompt_tokens_per_step} must be 1 or more, or None")
        self.session, self.prompt_tokens_per_step, self.detokenizer = session, prompt_tokens_per_step, detokenizer
        self._free = [slot for slot in reversed(range(session.slots)) if session.length(slot) == 0]
        if not self._free:
            raise ConfigError(f"all {session.slots} slots of the session are in use: cut one to 0, or make more")
        # What other threads read and write: adding to these and taking from them is atomic.
        self._lock = threading.Lock()  # of numbers, which are given in the order of the inbox
        self._submitted = 0
        self._inbox: deque[Request] = deque()
        self._cancelled: deque[int] = deque()
        self._requests: dict[int, Request] = {}  # those with unfinished samples
        # What only the thread that drives the engine knows.
        self._waiting: deque[Request] = deque()  # those with samples that have no slot yet
        self._active: dict[int, Running] = {}  # slot to sample, without followers; the oldest first

    @property
    def busy(self) -> bool:
        """Whether there is anything left for `step` to do or to tell."""
        return bool(self._active or self._waiting or self._inbox or self._cancelled)

    @property
    def running(self) -> int:
        """How many samples have a slot."""
        return sum(1 + len(sample.followers) for sample in self._active.values())

    def submit(self, prompt: Any, params: SamplingParams | None = None, *, key: Key | None = None) -> int:
        """Add a request.

        Args:
            prompt: token ids (n,), at least one. Of a long one, the model sees the end; see
                `minitrain.generation.context`.
            params: how tokens are chosen.
            key: where random numbers come from, in place of ``params.seed``; ``key.sample`` is for the first sample.

        Returns:
            The number of the request, which its events have: 0, 1, ….

        Raises:
            ShapeError: if the prompt is no list of integers, or is empty.
            TokenError: if a token is negative or too large for int32.
            ConfigError: if there are stop strings and the engine has no detokenizer.
        """
        params = params or SamplingParams()
        with self._lock:
            request = Request(self._submitted, prompt, params, self.session.longest, key, self.detokenizer)
            self._submitted += 1
            self._requests[request.number] = request
            self._inbox.append(request)
        return request.number

    def cancel(self, request: int) -> None:
        """End a request at the next step, which frees its slots; one that has ended stays as it is.

        Raises:
            ConfigError: if there never was such a request.
        """
        if not 0 <= request < self._submitted:
            raise ConfigError(f"there is no request {request}: submit returns the number")
        if request in self._requests:
            self._cancelled.append(request)

    def step(self) -> list[Event]:
        """Run the model once and tell what came of it.

        A request that fails ends with events that have its error; the others go on. It fails if its prompt or its
        settings have tokens outside the vocabulary, if the model returns NaN for it, or if a function of its own
        raises.

        Returns:
            The events, at most one for each unfinished sample. There may be none while long prompts are taken in.
        """
        events: list[Event] = []
        if self._inbox or self._cancelled or self._waiting:
            self._take_requests(events)
            self._admit()
        fed = self._to_feed()
        if fed:
            rows = self._extend(fed)
            for (slot, new), row in zip(fed.items(), rows, strict=True):
                sample = self._active.get(slot)
                if sample is None:  # a sample of the same request has failed in this step
                    continue
                if isinstance(row, MinitrainError):
                    self._fail(sample, row, events)
                    continue
                sample.fed += len(new)
                if sample.fed == sample.length:
                    self._choose(sample, row, events)
        return events

    def close(self) -> None:
        """Drop all requests and free the slots."""
        self._inbox.clear()
        self._cancelled.clear()
        for request in list(self._requests.values()):
            self._drop(request)

    def _take_requests(self, events: list[Event]) -> None:
        """Read what `submit` and `cancel` left."""
        while self._inbox:
            request = self._inbox.popleft()
            if request.params.max_new_tokens == 0:
                self._end(request, "length", events)
            else:
                self._waiting.append(request)
        while self._cancelled:
            cancelled = self._requests.get(self._cancelled.popleft())
            if cancelled is not None:
                self._end(cancelled, "cancelled", events)

    def _admit(self) -> None:
        """Give free slots to samples that wait, first come, first served."""
        while self._waiting and self._free:
            request = self._waiting[0]
            sample = Running(request, self._free.pop())
            request.begun += 1
            if request.begun == request.params.num_samples:
                self._waiting.popleft()
            self._begin(sample)

    def _begin(self, sample: Running) -> None:
        """Let a sample share the prompt of another one of its request if that one has its beginning, or take it in."""
        request = sample.request
        for other in self._active.values():
            if other.request is not request or other.start != request.start:
                continue
            if other.fed < sample.length:
                other.followers.append(sample)
                return
            # The other one has chosen tokens already: the logits after the prompt are computed again.
            self.session.copy(other.slot, sample.slot)
            self.session.cut(sample.slot, sample.length - 1 - sample.start)
            sample.fed = sample.length - 1
            break
        self._active[sample.slot] = sample

    def _to_feed(self) -> dict[int, Tokens]:
        """The tokens that the session does not know yet, of prompts no more than the limit allows."""
        left = self.prompt_tokens_per_step
        fed = {}
        for slot, sample in self._active.items():
            end = sample.length
            if left is not None and end - sample.fed > 1:  # a prompt, or a context that starts again
                end = min(end, sample.fed + left)
                left -= end - sample.fed
            if end > sample.fed:
                fed[slot] = sample.tokens[sample.fed : end]
        return fed

    def _extend(self, fed: dict[int, Tokens]) -> Iterable[Array | MinitrainError]:
        """A row of logits (V,) for each slot, or the error that its tokens cause."""
        try:
            return float_rows(self.session.extend(fed))
        except MinitrainError as error:
            if len(fed) == 1:
                return [error]
        # Nothing was added. One by one, those without a fault go on.
        return [row for slot, new in fed.items() for row in self._extend({slot: new})]

    def _choose(self, sample: Running, logits: Array, events: list[Event]) -> None:
        """Choose the next token of a sample, and of those that have waited for its prompt."""
        followers = sample.followers
        if followers:
            sample.followers = []
            for follower in followers:
                self.session.copy(sample.slot, follower.slot)
                follower.fed = sample.fed
                self._active[follower.slot] = follower
        for each in (sample, *followers):
            request = each.request
            try:
                number = uniform_number(each.key.fold(each.length)) if request.params.temperature else 0.0
                choice = request.chooser(logits, each.tokens[: each.length], len(request.prompt), number)
                each.add(choice.token)
                ending = each.end()
            except Exception as error:  # also of the request's own processor, or of the detokenizer
                self._fail(each, error, events)
                return  # with all samples of the request
            events.append(each.event(choice, ending))
            if ending.reason is not None:
                self._release(each)
                del request.unfinished[each.index]
                if not request.unfinished:
                    del self._requests[request.number]
            elif each.length - each.start > self.session.longest:
                self.session.cut(each.slot, 0)
                each.start = each.fed = each.length - restart_length(self.session.longest)

    def _release(self, sample: Running) -> None:
        """Free the slot of a sample, and of those that wait for it."""
        self._active.pop(sample.slot, None)
        for each in (sample, *sample.followers):
            if self.session.length(each.slot):
                self.session.cut(each.slot, 0)
            self._free.append(each.slot)

    def _drop(self, request: Request) -> None:
        """Forget a request with all of its samples."""
        for sample in [sample for sample in self._active.values() if sample.request is request]:
            self._release(sample)
        if request in self._waiting:
            self._waiting.remove(request)
        del self._requests[request.number]

    def _end(self, request: Request, reason: str, events: list[Event], error: Exception | None = None) -> None:
        """End all unfinished samples of a request."""
        self._drop(request)
        for index in request.unfinished:
            events.append(Event(request.number, index, None, finish_reason=reason, error=error))

    def _fail(self, sample: Running, error: Exception, events: list[Event]) -> None:
        """End a request, and say in the error which one and where."""
        new = sample.length - len(sample.request.prompt)
        where = f"request {sample.request.number}, sample {sample.index}, new token {new}"
        if isinstance(error, MinitrainError):
            error = type(error)(f"{where}: {error}")
        else:
            error.add_note(f"minitrain: in {where}")
        self._end(sample.request, "error", events, error)
