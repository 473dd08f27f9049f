"""OpenAI's ``/v1/completions`` and ``/v1/chat/completions``: what they take, and the forms of their answers."""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..generation import Grammar, SamplingParams
from ..generation.sessions.session import Tokens
from .catalogue import Served
from .fields import Fields
from .formats import grammar_of
from .limits import Limits
from .requests import LONGEST_STOP, MOST_STOPS, prompts_of, sampling
from .texts import Piece, SampleText, Token, finite
from .worker import Generation

IGNORED = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls",
    "prompt_cache_retention",
)  # fmt: skip
"""Fields that say something to OpenAI and nothing here."""


@dataclass
class Asked:
    """A checked request.

    Attributes:
        model: the name that answers give.
        prompts: token ids (n,) each.
        params: for the engine, without stop strings.
        samples: for each prompt; at temperature 0 they are all the same one.
        stop: the stop strings.
        stream: whether the answer comes in pieces.
        usage: whether a stream ends with the numbers of tokens.
        best: how many of the most likely tokens to tell; ``None`` for no log-probabilities.
        grammar: the form of the texts; ``None`` for any.
    """

    model: str
    prompts: list[Tokens]
    params: SamplingParams
    samples: int
    stop: tuple[str, ...]
    stream: bool
    usage: bool
    best: int | None
    grammar: Grammar | None
    created: int = field(default_factory=lambda: int(time.time()))


class Form(ABC):
    """The form of answers of an endpoint.

    Args:
        asked: the request.
        served: its model.
    """

    kind: str
    prefix: str

    def __init__(self, asked: Asked, served: Served) -> None:
        self.asked, self.served = asked, served
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"

    @classmethod
    @abstractmethod
    async def read(cls, fields: Fields, name: str, served: Served, limits: Limits) -> Asked:
        """The request in the body."""

    @abstractmethod
    def chunk(self, index: int, piece: Piece) -> dict[str, Any]:
        """A choice of a stream that brings a piece of a sample."""

    @abstractmethod
    def choice(self, index: int, text: str, tokens: list[Token], reason: str) -> dict[str, Any]:
        """The choice of a whole sample."""

    def opening(self, index: int) -> dict[str, Any] | None:
        """A choice that a stream begins with, if there is one."""
        return None

    def head(self, *, chunk: bool) -> dict[str, Any]:
        """The fields of all answers."""
        kind = self.kind + (".chunk" if chunk and self.prefix == "chatcmpl" else "")
        return {"id": self.id, "object": kind, "created": self.asked.created, "model": self.asked.model}

    def name_of(self, token: int) -> str:
        """A token as text; bytes that are no character are named as OpenAI does it, so that no two are alike."""
        content = self.served.names.bytes_of(token)
        text = self.served.names.text_of(token)
        return (
            "bytes:" + "".join(f"\\x{byte:02x}" for byte in content) if content and content != text.encode() else text
        )

    async def stream(self, generation: Generation) -> AsyncIterator[dict[str, Any]]:
        """The pieces of a streamed answer."""
        texts = self._texts()
        for index in range(len(texts)):
            if (opening := self.opening(index)) is not None:
                yield {**self.head(chunk=True), "choices": [opening]}
        async for indices, piece in self._pieces(generation, texts):
            for index in indices:
                yield {**self.head(chunk=True), "choices": [self.chunk(index, piece)]}
        if self.asked.usage:
            yield {**self.head(chunk=True), "choices": [], "usage": self._usage(texts)}

    async def whole(self, generation: Generation) -> dict[str, Any]:
        """The answer in one."""
        texts = self._texts()
        pieces: list[list[Piece]] = [[] for _ in texts]
        async for indices, piece in self._pieces(generation, texts):
            for index in indices:
                pieces[index].append(piece)
        choices = [
            self.choice(
                index,
                "".join(piece.text for piece in of_sample),
                [token for piece in of_sample for token in piece.tokens],
                of_sample[-1].finish_reason or "",
            )
            for index, of_sample in enumerate(pieces)
        ]
        return {**self.head(chunk=False), "choices": choices, "usage": self._usage(texts)}

    def _texts(self) -> list[SampleText]:
        asked = self.asked
        return [
            SampleText(self.served.tokenizer, prompt.tolist(), asked.stop, asked.params.min_new_tokens)
            for prompt in asked.prompts
            for _ in range(asked.samples)
        ]

    async def _pieces(self, generation: Generation, texts: Sequence[SampleText]) -> AsyncIterator[tuple[range, Piece]]:
        """Pieces with text or an end, and the indices of the choices that they are of, until all have ended."""
        asked, left = self.asked, len(texts)
        drawn = asked.params.num_samples  # one, or as many as were asked for
        async for prompt, event in generation:
            first = prompt * asked.samples + event.sample
            indices = range(first, first + (asked.samples if drawn < asked.samples else 1))
            sample = texts[first]
            if sample.ended:  # at a stop string, which the engine does not know
                continue
            piece = sample.add(event)
            for other in indices[1:]:
                texts[other].count = sample.count
            if piece.text or piece.tokens or piece.finish_reason:
                yield indices, piece
            if piece.finish_reason is not None:
                left -= len(indices)
                if not left:
                    return
                if event.finish_reason is None and asked.params.num_samples == 1:
                    generation.cancel(prompt)

    def _usage(self, texts: Sequence[SampleText]) -> dict[str, int]:
        read, written = sum(map(len, self.asked.prompts)), sum(text.count for text in texts)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class Completion(Form):
    """``/v1/completions``."""

    kind, prefix = "text_completion", "cmpl"

    @classmethod
    async def read(cls, fields: Fields, name: str, served: Served, limits: Limits) -> Asked:
        """The request in the body."""
        best = fields.get("logprobs")
        if best is not None:
            best = fields.integer("logprobs", 0, 0, 20)
        fields.only("echo", False)
        fields.only("suffix", "")
        fields.only("best_of", 1, fields.get("n"))
        return await read_common(fields, name, served, limits, await prompts_of(fields, served, limits), best, 16)

    def chunk(self, index: int, piece: Piece) -> dict[str, Any]:
        """A choice of a stream."""
        return self.choice(index, piece.text, piece.tokens, piece.finish_reason)

    def choice(self, index: int, text: str, tokens: list[Token], reason: str | None) -> dict[str, Any]:
        """A choice."""
        logprobs = None
        if self.asked.best is not None:
            logprobs = {
                "tokens": [self.name_of(token.id) for token in tokens],
                "token_logprobs": [token.logprob for token in tokens],
                "top_logprobs": [
                    {self.name_of(other): finite(logprob) for other, logprob in reversed(token.best)}
                    for token in tokens
                ],
                "text_offset": [token.offset for token in tokens],
            }
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


async def read_common(
    fields: Fields, name: str, served: Served, limits: Limits, prompts: list[Tokens], best: int | None, default: int
) -> Asked:
    """The settings that both endpoints take.

    Args:
        fields: of the body.
        name: the model's.
        served: the model.
        limits: of the server.
        prompts: of the request.
        best: how many of the most likely tokens to tell.
        default: how many tokens to write if the request does not say.
    """
    samples = fields.integer("n", 1, 1, limits.samples)
    if samples * len(prompts) > limits.samples:
        fields.integer("n", 1, 1, limits.samples // len(prompts))  # says what is wrong
    most = fields.integer("max_tokens", default, 0, limits.new_tokens)
    stop = fields.texts("stop", MOST_STOPS, LONGEST_STOP)
    stream, options = fields.flag("stream"), fields.get("stream_options")
    usage = Fields(options or {})
    with_usage = usage.flag("include_usage")
    usage.finish(["include_obfuscation"])
    params = sampling(fields, served, limits, max_new_tokens=most, num_samples=samples, logprobs=best)
    grammar = await grammar_of(fields, served, limits)
    fields.finish(IGNORED)
    return Asked(name, prompts, params, samples, stop, stream, with_usage and stream, best, grammar)
