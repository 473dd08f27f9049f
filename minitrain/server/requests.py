"""From the body of a request to prompts and settings, within the limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request

from ..errors import ConfigError, DataError
from ..files import parse_json
from ..generation import SamplingParams, encode_prompt
from ..generation.sessions.session import Tokens
from .answers import ApiError, ClientGone
from .catalogue import Served
from .fields import Fields, is_token_ids
from .limits import Limits

MOST_STOPS, LONGEST_STOP = 16, 200
_DRAINED = 16  # so many times the limit of a body is read and forgotten, so that the client gets to read the refusal
_SEEDS = (1 << 64) - 1


async def read_body(request: Request, limits: Limits) -> Fields:
    """The JSON of a request.

    Raises:
        ApiError: 415 if it is not JSON by its header, 413 if it is too large, 408 if it does not come, 400 if it is
            damaged.
        ClientGone: if the client has gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of another site could send text/plain without asking
        raise ApiError(415, "the body must be JSON, with the header content-type: application/json")
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(limits.read_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limits.body_bytes:
                    body += chunk
                elif size > _DRAINED * limits.body_bytes:
                    break
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {limits.read_seconds:g} seconds") from None
    except ClientDisconnect:
        raise ClientGone from None
    if size > limits.body_bytes:
        raise ApiError(413, f"the body is larger than {limits.body_bytes} bytes", code="too_large")
    try:
        return Fields(parse_json(bytes(body)))
    except (ValueError, json.JSONDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error!s:.200}") from None


def sampling(fields: Fields, served: Served, limits: Limits, **own: Any) -> SamplingParams:
    """The settings of a request: those of OpenAI's API, and minitrain's own by their names.

    Args:
        fields: of the body.
        served: the model.
        limits: of the server.
        own: settings that the kind of request decides.

    Raises:
        ApiError: 400 if one is out of range.
    """
    most, vocabulary = limits.new_tokens, served.vocabulary
    settings: dict[str, Any] = {
        "temperature": fields.number("temperature", 1.0, 0, 100),
        "top_p": fields.number("top_p", 1.0, 0, 1) or 1e-9,  # 0 is allowed there: the most likely token alone
        "min_p": fields.number("min_p", 0.0, 0, 1),
        "typical_p": fields.number("typical_p", 1.0, 1e-9, 1),
        "repetition_penalty": fields.number("repetition_penalty", 1.0, 0.01, 100),
        "frequency_penalty": fields.number("frequency_penalty", 0.0, -2, 2),
        "presence_penalty": fields.number("presence_penalty", 0.0, -2, 2),
        "no_repeat_ngram_size": fields.integer("no_repeat_ngram_size", 0, 0, most),
        "min_new_tokens": fields.integer("min_tokens", 0, 0, most),
        "logit_bias": fields.biases("logit_bias", vocabulary),
    }
    if (top_k := fields.integer("top_k", 0, -1, 1 << 31)) > 0:  # 0 and -1 are for all
        settings["top_k"] = top_k
    seed = fields.integer("seed", 0, -(1 << 63), _SEEDS) & _SEEDS
    ends = () if fields.flag("ignore_eos") else served.end_ids
    settings |= {"seed": None if fields.get("seed") is None else seed, "stop_token_ids": ends, **own}
    settings["suppress_tokens"] = served.unused_tokens
    if settings["temperature"] == 0:  # all samples are equal then; they are still what was asked for
        settings["num_samples"] = 1
    try:
        return SamplingParams(**settings)
    except ConfigError as error:
        raise ApiError(400, str(error)) from None


async def tokens_of(text: str, served: Served, limits: Limits, *, param: str = "prompt") -> Tokens:
    """The tokens of a prompt; an empty one becomes the token that begins a text, or a line break.

    Raises:
        ApiError: 400 if the tokenizer does not know its characters, or it is too long.
    """

    def encode() -> Any:
        tokens = encode_prompt(served.tokenizer, text)
        if not len(tokens):
            begin = getattr(served.tokenizer, "begin_id", None)
            begin = next(iter(served.end_ids), None) if begin is None else begin
            tokens = served.tokenizer.encode("\n") if begin is None else [begin]
        return np.asarray(tokens, np.int32)

    try:
        tokens: Tokens = await asyncio.to_thread(encode)  # a long text takes a while
    except DataError as error:
        raise ApiError(400, str(error), param=param) from None
    check_length(tokens, limits, param)
    return tokens


def check_length(tokens: Any, limits: Limits, param: str) -> None:
    """Refuse a prompt with too many tokens.

    Raises:
        ApiError: 400.
    """
    if len(tokens) > limits.prompt_tokens:
        raise ApiError(
            400,
            f"{param} has {len(tokens)} tokens, and this server takes {limits.prompt_tokens}",
            param=param,
            code="context_length_exceeded",
        )


async def prompts_of(fields: Fields, served: Served, limits: Limits) -> list[Tokens]:
    """The prompts of a request for completions: a text, a list of texts, token ids, or a list of those.

    Raises:
        ApiError: 400 if it is none of them.
    """
    value = fields.get("prompt")
    value = "" if value is None else value
    several = isinstance(value, list) and bool(value) and isinstance(value[0], str | list)
    values = value if several else [value]
    if len(values) > limits.samples:
        raise ApiError(400, f"prompt has {len(values)} prompts, and this server takes {limits.samples}", param="prompt")
    prompts = []
    for one in values:
        if isinstance(one, str):
            prompts.append(await tokens_of(one, served, limits))
        elif one and is_token_ids(one, served.vocabulary):
            check_length(one, limits, "prompt")
            prompts.append(np.array(one, np.int32))
        else:
            raise fields.wrong("prompt", f"texts, or lists of token ids below {served.vocabulary}, none empty")
    return prompts
