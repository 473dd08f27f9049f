"""The limits of the server: each bounds the memory or the time that one client can take from the others."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server.

    Attributes:
        slots: samples that are generated at once; the memory for keys and values grows with it.
        requests: requests that run or wait; the next one is refused with 429.
        connections: open connections; a request on another one is refused with 503.
        body_bytes: size of a request's body; a larger one is refused with 413.
        prompt_tokens: tokens of a prompt; a longer one is refused with 400.
        new_tokens: the most tokens that a sample may ask for.
        samples: samples of one request, over all its prompts.
        schema_characters: size of the JSON schema of an answer; a larger one is refused with 400.
        attention_tokens: tokens of a text whose attention is shown: its cost grows with their square.
        models: checkpoints in memory at once; the one of the start always stays.
        request_seconds: time from a request's arrival to its last token, waiting included.
        schema_seconds: time to wait for a JSON schema to be compiled; 503 after it.
        read_seconds: time for the head of a request, and again for its body; a slower client is cut off.
        write_seconds: time that a client may let a piece of the answer wait.
        idle_seconds: time that a connection may be open without a request.
        shutdown_seconds: time that answers get to end when the server stops.

    Raises:
        ConfigError: if one is not positive.
    """

    slots: int = 4
    requests: int = 128
    connections: int = 256
    body_bytes: int = 1 << 20
    prompt_tokens: int = 16_384
    new_tokens: int = 4_096
    samples: int = 16
    schema_characters: int = 32_768
    attention_tokens: int = 256
    models: int = 2
    request_seconds: float = 600.0
    schema_seconds: float = 10.0
    read_seconds: float = 20.0
    write_seconds: float = 30.0
    idle_seconds: float = 30.0
    shutdown_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Check each of them."""
        for field in fields(self):
            value = getattr(self, field.name)
            kinds = (int, float) if field.type == "float" else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds) or not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"limit {field.name} = {value!r} must be a positive number")
