"""Answers to the page: the models, a text with the probabilities behind it, and attention."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..generation.context import context_start
from ..generation.sessions.session import Tokens
from .answers import ApiError
from .attention import attention_weights, heads_of
from .catalogue import Catalogue, Served
from .chat import chat_tokens
from .fields import Fields
from .limits import Limits
from .requests import check_length, sampling, tokens_of
from .texts import SampleText, finite
from .worker import Generation

MOST_ALTERNATIVES = 20


def describe(catalogue: Catalogue) -> dict[str, Any]:
    """The models and the limits, for the page's controls."""
    served, limits = catalogue.first, catalogue.limits
    layers, heads = heads_of(served.model)
    return {
        "models": list(catalogue.names),
        "checkpoint": catalogue.opened.checkpoint,
        "layers": layers,
        "heads": heads,
        "vocabulary": served.vocabulary,
        "context": served.worker.longest,
        "chat": served.template is not None,
        "parameters": int(served.model.parameter_count()),
        "limits": {
            "new_tokens": limits.new_tokens,
            "attention_tokens": min(limits.attention_tokens, served.worker.longest),
            "alternatives": min(MOST_ALTERNATIVES, served.vocabulary),
        },
    }


def status(catalogue: Catalogue) -> dict[str, Any]:
    """The present state of the server."""
    ready = catalogue.ready
    return {
        "models": {
            name: {
                "slots": one.worker.slots,
                "running": one.worker.running,
                "requests": one.worker.unfinished,
                "users": one.users,
                "tokens": one.worker.tokens,
            }
            for name, one in ready.items()
        }
    }


def _token(served: Served, token: int) -> dict[str, Any]:
    """A token to show: its id and text, and whether it stands for no text."""
    special = not served.names.bytes_of(token)
    return {"id": token, "text": served.names.text_of(token)} | ({"special": True} if special else {})


class Exploration:
    """A text that the page asks for.

    Its body has ``prompt``, a text; ``chat``, whether the prompt is a message to a chat model; ``tokens``, the ids of
    new tokens to go on from; ``alternatives``, how many to show for each token; ``max_tokens``, and the settings of
    sampling.

    Args:
        served: the model.
        prompt: token ids of the prompt.
        begun: token ids after it.
        params: for the engine.
    """

    def __init__(self, served: Served, prompt: Tokens, begun: list[int], params: Any) -> None:
        self.served, self.prompt, self.begun, self.params = served, prompt, begun, params
        self.tokens: Tokens = np.concatenate([prompt, np.array(begun, np.int32)])

    @classmethod
    async def read(cls, fields: Fields, served: Served, limits: Limits) -> Exploration:
        """The request in a body."""
        text = fields.text("prompt") or ""
        if fields.flag("chat"):
            if served.template is None:
                raise ApiError(400, "this model has no chat template", param="chat")
            prompt = await chat_tokens([{"role": "user", "content": text}], served, limits)
        else:
            prompt = await tokens_of(text, served, limits)
        begun = fields.token_ids("tokens", served.vocabulary, limits.prompt_tokens)
        best = fields.integer("alternatives", 8, 0, MOST_ALTERNATIVES)
        most = fields.integer("max_tokens", 128, 0, limits.new_tokens)
        params = sampling(fields, served, limits, max_new_tokens=most, logprobs=min(best, served.vocabulary))
        fields.finish()
        exploration = cls(served, prompt, begun, params)
        check_length(exploration.tokens, limits, "prompt")
        return exploration

    async def pieces(self, generation: Generation) -> AsyncIterator[dict[str, Any]]:
        """The tokens of the prompt, then each new token with its alternatives, then why it ended."""
        served, text = self.served, SampleText(self.served.tokenizer, self.tokens.tolist(), ())
        told = [_token(served, token) for token in self.prompt.tolist()]
        yield {"prompt": told, "longest": served.worker.longest}
        async for _, event in generation:
            if event.token is not None:
                piece = text.add(event)
                best = [
                    {**_token(served, token), "logprob": finite(logprob)}
                    for token, logprob in event.best
                    if token < served.vocabulary
                ]
                one = _token(served, event.token) | {"logprob": finite(event.logprob or 0.0), "best": best}
                # What the token completes: a token may hold a part of a character.
                yield {"token": one | {"piece": piece.text}}
            if event.finish_reason is not None:
                yield {"finish_reason": event.finish_reason}


async def attention(fields: Fields, served: Served, limits: Limits) -> dict[str, Any]:
    """The attention of a head over the end of a text, given as ``tokens``."""
    tokens = fields.token_ids("tokens", served.vocabulary, limits.prompt_tokens + limits.new_tokens)
    layers, heads = heads_of(served.model)
    if not layers:
        raise ApiError(400, "the attention of this model cannot be shown")
    layer, head = fields.integer("layer", 0, 0, layers - 1), fields.integer("head", 0, 0, heads - 1)
    fields.finish()
    if not tokens:
        raise ApiError(400, "tokens is empty: there is no text to look at", param="tokens")
    most = min(limits.attention_tokens, served.worker.longest)
    start = max(context_start(len(tokens), served.worker.longest), len(tokens) - most)
    shown = np.array(tokens[start:], np.int32)
    compute = partial(attention_weights, served.model, shown, layer, head, device=served.opened.device)
    try:
        weights = await asyncio.wrap_future(served.worker.call(compute))
    except ConfigError as error:
        raise ApiError(400, str(error)) from None
    rows = [[round(float(weight), 3) for weight in row[: t + 1]] for t, row in enumerate(weights)]
    return {"start": start, "layer": layer, "head": head, "weights": rows}
