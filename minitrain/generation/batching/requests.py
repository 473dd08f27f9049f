"""Requests to the engine, the state that it keeps of each, and its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...backend.arrays import Array, to_numpy
from ...errors import ShapeError, TokenError
from ...random import Key
from ..choosing import Choice, Chooser
from ..context import context_start
from ..ending import Detokenize, Ending, check_detokenizer
from ..params import SamplingParams
from ..sessions.session import Tokens

FINISH_REASONS = ("stop", "length", "cancelled", "error")
"""A stop token or string came, or a form was complete; ``max_new_tokens`` were chosen; it was cancelled; it failed."""


class Event(NamedTuple):
    """A new token of a sample, or its end, or both.

    Attributes:
        request: the number that ``submit`` returned; in a batch, the index of the prompt.
        sample: index of the sample, from 0.
        token: the new token; ``None`` if the sample ended without one.
        logprob: its log-probability, if it was asked for.
        best: the most likely tokens with their log-probabilities, the most likely first, if they were asked for.
        finish_reason: one of `FINISH_REASONS` if the sample ended, else ``None``.
        stopped_by: the stop token or stop string, if one ended it.
        error: the error, if the reason is ``"error"``.
    """

    request: int
    sample: int
    token: int | None
    logprob: float | None = None
    best: tuple[tuple[int, float], ...] = ()
    finish_reason: str | None = None
    stopped_by: int | str | None = None
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One continuation of a prompt.

    Attributes:
        tokens: (n,) int32 new tokens, without the prompt; a stop token is the last of them.
        finish_reason: one of `FINISH_REASONS`.
        stopped_by: the stop token or stop string, if one ended it.
        logprobs: (n,) float64 log-probabilities of the tokens, or ``None``.
        best: for each token, the most likely ones with their log-probabilities; ``None`` if none were asked for.
    """

    tokens: Tokens
    finish_reason: str
    stopped_by: int | str | None = None
    logprobs: Array | None = None
    best: list[tuple[tuple[int, float], ...]] | None = None

    @classmethod
    def of(cls, events: Sequence[Event], params: SamplingParams) -> Sample:
        """The sample that these events, all of its own, tell of."""
        new = [event for event in events if event.token is not None]
        logprobs = None if params.logprobs is None else np.array([event.logprob for event in new], np.float64)
        best = [event.best for event in new] if params.logprobs else None
        tokens = np.array([event.token for event in new], np.int32)
        last = events[-1]
        return cls(tokens, last.finish_reason or "", last.stopped_by, logprobs, best)


@dataclass(frozen=True, eq=False)
class Result:
    """The samples of a prompt.

    Attributes:
        prompt: (n,) int32.
        params: the settings of the request, with the seed that was used.
        samples: ``params.num_samples`` of them.
    """

    prompt: Tokens
    params: SamplingParams
    samples: list[Sample]

    @property
    def tokens(self) -> Tokens:
        """The new tokens of the first sample."""
        return self.samples[0].tokens

    @property
    def finish_reason(self) -> str:
        """Why the first sample ended."""
        return self.samples[0].finish_reason


def checked_prompt(prompt: Any, name: str = "prompt") -> Tokens:
    """A prompt as (n,) int32 on the CPU.

    Raises:
        ShapeError: unless it is a list or an array (n,) of integers, at least one.
        TokenError: if a token is negative or has more than 31 bits.
    """
    if isinstance(prompt, str):
        raise ShapeError(f"{name} is a text, expected token ids: a tokenizer's encode makes them")
    try:
        tokens = to_numpy(prompt)
    except ValueError:
        raise ShapeError(f"{name} is no list of integers") from None
    if tokens.ndim != 1 or tokens.size == 0 or tokens.dtype.kind not in "iu":
        raise ShapeError(f"{name} is {tokens.dtype} of shape {tokens.shape}, expected integers (n,), at least one")
    least, most = int(tokens.min()), int(tokens.max())
    if least < 0 or most >= 1 << 31:
        raise TokenError(f"{name} has the token {least if least < 0 else most}, expected 0 to 2**31 - 1")
    return tokens.astype(np.int32)


class Request:
    """A prompt in the engine, with what all of its samples share.

    Args:
        number: its number in the engine.
        prompt: token ids.
        params: its settings.
        longest: the most tokens that the session holds of a sequence.
        key: where random numbers come from, in place of ``params.seed``.
        detokenizer: needed for stop strings.

    Raises:
        ConfigError: if there are stop strings and no detokenizer.
        ShapeError: see `checked_prompt`.
        TokenError: see `checked_prompt`.
    """

    def __init__(
        self,
        number: int,
        prompt: Any,
        params: SamplingParams,
        longest: int,
        key: Key | None,
        detokenizer: Detokenize | None,
    ) -> None:
        check_detokenizer(params, detokenizer)
        self.number, self.params = number, params
        self.prompt = checked_prompt(prompt)
        self.start = context_start(len(self.prompt), longest)
        self.key = (key or Key.from_seed(params.seed or 0)).fold("token")
        self.detokenizer = detokenizer
        self.chooser = Chooser(params)
        self.begun = 0  # samples that got a slot
        self.unfinished = dict.fromkeys(range(params.num_samples))


class Running:
    """A sample that has a slot: its tokens, and how far the session knows them."""

    __slots__ = ("_ending", "fed", "followers", "index", "key", "length", "request", "slot", "start", "tokens")

    def __init__(self, request: Request, slot: int) -> None:
        params, prompt = request.params, request.prompt
        self.request, self.index, self.slot = request, request.begun, slot
        self.key = request.key.at_sample(request.key.sample + self.index)
        self.length = len(prompt)  # how many of `tokens` there are
        self.tokens = np.empty(self.length + min(params.max_new_tokens, 256), np.int32)
        self.tokens[: self.length] = prompt
        self.start = self.fed = request.start  # the session has the tokens from `start` to `fed`
        self.followers: list[Running] = []  # samples that get a copy of the prompt once the session has it
        self._ending: Ending | None = None

    def add(self, token: int) -> None:
        """Append a token."""
        if self.length == len(self.tokens):
            self.tokens = np.concatenate([self.tokens, np.empty_like(self.tokens)])
        self.tokens[self.length] = token
        self.length += 1

    def end(self) -> Ending:
        """How the sample stands with its last token."""
        if self._ending is None:
            self._ending = Ending(self.request.params, self.request.prompt, self.request.detokenizer)
        self._ending.add(self.tokens[: self.length])
        return self._ending

    def event(self, choice: Choice, ending: Ending) -> Event:
        """The event that reports a new token."""
        return Event(self.request.number, self.index, *choice, ending.reason, ending.stopped_by)
