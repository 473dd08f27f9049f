"""OpenAI's ``/v1/chat/completions``: a chat becomes a prompt, and its continuation an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from ..generation.sessions.session import Tokens
from .answers import ApiError
from .catalogue import Served
from .completions import Asked, Form, read_common
from .fields import Fields
from .limits import Limits
from .requests import check_length, tokens_of
from .texts import Piece, Token, finite

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
MOST_MESSAGES = 1000
UNSUPPORTED = ("tools", "tool_choice", "functions", "function_call", "audio", "prediction", "web_search_options")
"""Fields for what this server cannot do; they may say that nothing is asked for."""


class ChatCompletion(Form):
    """``/v1/chat/completions``."""

    kind, prefix = "chat.completion", "chatcmpl"

    @classmethod
    async def read(cls, fields: Fields, name: str, served: Served, limits: Limits) -> Asked:
        """The request in the body."""
        best = fields.integer("top_logprobs", 0, 0, 20)
        wanted = fields.flag("logprobs")
        if best and not wanted:
            raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
        for one in UNSUPPORTED:
            fields.only(one, [], "none", "auto")
        fields.only("modalities", ["text"])
        fields.only("reasoning_effort", "none")
        default = fields.integer("max_completion_tokens", min(1024, limits.new_tokens), 0, limits.new_tokens)
        prompt = await chat_tokens(messages_of(fields), served, limits)
        return await read_common(fields, name, served, limits, [prompt], best if wanted else None, default)

    def opening(self, index: int) -> dict[str, Any]:
        """The choice that says who speaks."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def chunk(self, index: int, piece: Piece) -> dict[str, Any]:
        """A choice of a stream."""
        delta = {"content": piece.text} if piece.text else {}
        logprobs = self._logprobs(piece.tokens) if piece.tokens else None
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": piece.finish_reason}

    def choice(self, index: int, text: str, tokens: list[Token], reason: str) -> dict[str, Any]:
        """A choice."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": self._logprobs(tokens), "finish_reason": reason}

    def _logprobs(self, tokens: list[Token]) -> dict[str, Any] | None:
        if self.asked.best is None:
            return None

        def told(token: int, logprob: float) -> dict[str, Any]:
            content = self.served.names.bytes_of(token)
            return {"token": self.name_of(token), "logprob": logprob, "bytes": list(content)}

        content = [
            {**told(token.id, token.logprob), "top_logprobs": [told(other, finite(best)) for other, best in token.best]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


def messages_of(fields: Fields) -> list[dict[str, str]]:
    """The turns of a chat: a role and a text each.

    Raises:
        ApiError: 400 if they are anything else.
    """
    value = fields.get("messages")
    if not isinstance(value, list) or not 0 < len(value) <= MOST_MESSAGES:
        raise ApiError(400, f"messages must be a list of 1 to {MOST_MESSAGES} messages", param="messages")
    return [_message(message, f"messages[{number}]") for number, message in enumerate(value)]


def _message(message: Any, where: str) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise ApiError(400, f'{where} must be an object such as {{"role": "user", "content": "Hello"}}', param=where)
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise ApiError(400, f"{where} must have a role, one of {', '.join(ROLES)}", param=where)
    if isinstance(content, list):  # parts, of which this server takes texts
        if not all(_is_text(part) for part in content):
            raise ApiError(400, f"{where} has parts that are not text, which this server does not take", param=where)
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise ApiError(400, f"{where} must have a content: a string, or a list of text parts", param=where)
    return {"role": ROLES[role], "content": content}


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


async def chat_tokens(messages: list[dict[str, str]], served: Served, limits: Limits) -> Tokens:
    """The prompt of a chat.

    A model with a chat template gets the text that it writes. A model without one was not trained to chat: it continues
    the texts of the messages, joined by line breaks.

    Raises:
        ApiError: 400 if a message spells a special token, the template does not take the messages, or they are too
            long.
    """
    if served.template is None:
        return await tokens_of("\n".join(message["content"] for message in messages), served, limits, param="messages")
    for number, message in enumerate(messages):
        for name in served.tokenizer.special_tokens:
            if name and name in message["content"]:
                raise ApiError(
                    400,
                    f"messages[{number}] spells the special token {name}, which would end or begin a turn",
                    param=f"messages[{number}]",
                )
    template = served.template

    def encode() -> Tokens:
        text = template.render(messages, add_generation_prompt=True)
        return np.asarray(served.tokenizer.encode(text, specials=True), np.int32)

    try:
        tokens = await asyncio.to_thread(encode)
    except DataError as error:
        raise ApiError(400, str(error), param="messages") from None
    check_length(tokens, limits, "messages")
    return tokens
