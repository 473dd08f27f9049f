"""The models of a server: one that was opened at the start, and other checkpoints of its run when asked for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import ConfigError, MinitrainError
from ..generation import ChatTemplate, SamplingParams, session_for
from ..generation.text.vocabulary import Vocabulary, end_tokens
from ..runs.opened import OpenedModel
from .answers import ApiError
from .limits import Limits
from .texts import TokenNames
from .worker import ClosedError, Turns, Worker


class Served:
    """A model that is ready to write.

    Args:
        opened: the model.
        limits: of the server.
        weights: see `minitrain.generation.session_for`.
        turns: shared by all models of the server.

    Attributes:
        vocabulary: the number of tokens that have a text.
        users: requests that use it now.
        compiling: held while a grammar is compiled.
    """

    def __init__(self, opened: OpenedModel, limits: Limits, weights: str, turns: Turns) -> None:
        self.opened, self.tokenizer, self.model = opened, opened.tokenizer, opened.model
        self.unused_tokens = opened.unused_tokens
        self.vocabulary: int = self.unused_tokens.start
        self.names, self.end_ids = TokenNames(self.tokenizer), end_tokens(self.tokenizer)
        self.template: ChatTemplate | None = None
        if getattr(self.tokenizer, "chat_template", None) is not None:
            with contextlib.suppress(ConfigError):  # without Jinja2, a chat is continued as a plain text
                self.template = ChatTemplate.of(self.tokenizer)
        with turns:
            session = session_for(self.model, limits.slots, device=opened.device, weights=weights)
        self.worker = Worker(session, requests=limits.requests, turns=turns)
        self.users, self.last_used = 0, time.monotonic()
        self.compiling = asyncio.Lock()

    @cached_property
    def grammar_vocabulary(self) -> Vocabulary:
        """The tokenizer, as grammars need it.

        Raises:
            ConfigError: if llguidance is not installed, or the tokenizer does not tell the bytes of its tokens.
        """
        return Vocabulary(self.tokenizer, self.end_ids)

    def warm_up(self) -> None:
        """Run the model once on a longer and on a shorter input, so that its kernels are compiled and at hand."""
        done: list[Any] = []
        length = min(16, self.worker.longest)
        prompt, params = np.zeros(length, np.int32), SamplingParams(max_new_tokens=2, temperature=0)
        self.worker.submit(prompt, params, done.append)
        while not any(event.finish_reason for event in done):
            time.sleep(0.005)
        for event in done:
            if event.error is not None:
                raise event.error


class Catalogue:
    """Finds models by their names, and loads and forgets checkpoints.

    Args:
        opened: the model of the start.
        limits: of the server.
        weights: see `minitrain.generation.session_for`.

    Attributes:
        default: the name of the model of the start.
        names: all names: that one, and ``NAME@CHECKPOINT`` for each other checkpoint of its run.
        created: when the server started, in seconds since 1970.
    """

    def __init__(self, opened: OpenedModel, limits: Limits, weights: str = "float32") -> None:
        self.opened, self.limits, self.weights = opened, limits, weights
        self.default, self.created = opened.name, int(time.time())
        others = [name for name in reversed(opened.checkpoints) if name != opened.checkpoint]
        self.names = (self.default, *(f"{self.default}@{name}" for name in others))
        self._turns = Turns()
        self._ready = {self.default: Served(opened, limits, weights, self._turns)}
        self._loading = asyncio.Lock()
        self._closing, self._closed = threading.Lock(), False  # a checkpoint may be loading when the server stops

    @property
    def first(self) -> Served:
        """The model of the start."""
        return self._ready[self.default]

    @property
    def ready(self) -> dict[str, Served]:
        """The models in memory, by their names."""
        return dict(self._ready)

    @contextlib.asynccontextmanager
    async def use(self, name: str | None) -> AsyncIterator[Served]:
        """A model for the time of a request; it is loaded if it is not in memory.

        Raises:
            ApiError: 404 if there is no such model, 503 if all that fit into memory are in use or it cannot be loaded.
        """
        served = await self.acquire(name)
        try:
            yield served
        finally:
            self.release(served)

    async def acquire(self, name: str | None) -> Served:
        """Like `use`, but until `release`."""
        name = self.default if name is None else name
        if name not in self.names:
            raise ApiError(
                404, f"there is no model {name[:100]!r}; /v1/models lists them", param="model", code="model_not_found"
            )
        if name not in self._ready:
            async with self._loading:  # one at a time; requests for models that are ready do not wait
                if name not in self._ready:
                    await self._make_room()
                    await asyncio.to_thread(self._load, name)
                self._ready[name].users += 1
        else:
            self._ready[name].users += 1
        return self._ready[name]

    def release(self, served: Served) -> None:
        """End the use of a model."""
        served.users -= 1
        served.last_used = time.monotonic()

    def close(self) -> None:
        """End all requests of all models, and their threads."""
        with self._closing:
            self._closed = True
        for served in self._ready.values():
            served.worker.close()

    def _load(self, name: str) -> None:
        """Make a checkpoint ready.

        Raises:
            ApiError: 503 if it is damaged, or does not fit into memory beside the others.
        """
        try:
            opened = self.opened.at(name.removeprefix(f"{self.default}@"))
            served = Served(opened, self.limits, self.weights, self._turns)
        except MinitrainError as error:
            raise ApiError(503, f"{name} cannot be loaded: {error}", code="not_loaded") from error
        with self._closing:
            if not self._closed:
                self._ready[name] = served
                return
        served.worker.close()
        raise ClosedError("the server is stopping")

    async def _make_room(self) -> None:
        """Forget the model that was not used for the longest time, if there are as many as may be."""
        if len(self._ready) < self.limits.models:
            return
        idle = {name: one for name, one in self._ready.items() if name != self.default and not one.users}
        if not idle:
            raise ApiError(
                503, f"all {self.limits.models} models that fit into memory are in use: try later", retry=5, code="busy"
            )
        name = min(idle, key=lambda name: idle[name].last_used)
        await asyncio.to_thread(self._ready.pop(name).worker.close)
