"""The arguments that decoding methods share: prompts of any lengths, stop tokens, and a model or a session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...backend.arrays import Array, is_array, to_numpy
from ...errors import ConfigError, ShapeError
from ..batching.requests import checked_prompt
from ..sessions.session import Session, Tokens

Prompts = Array | Sequence[Array | Sequence[int]]
"""(B, T0) integers, or B prompts of lengths of their own."""

AT_ONCE = 32
"""A session that is made for a model has slots for about this many sequences."""


def read_prompts(prompts: Prompts) -> list[Tokens]:
    """Each prompt as (T0,) int32 on the CPU.

    Raises:
        ShapeError: if there is no prompt, or one is empty or is not a row of integers.
        TokenError: if a token is negative or has more than 31 bits.
    """
    rows = [
        checked_prompt(row, f"prompt {i}") for i, row in enumerate(to_numpy(prompts) if is_array(prompts) else prompts)
    ]
    if not rows:
        raise ShapeError("there is no prompt: give (B, T0) integers, or a list of rows of integers")
    return rows


def read_stop_tokens(stop_token_ids: Iterable[int]) -> frozenset[int]:
    """The ids after which a text ends.

    Raises:
        ConfigError: if one is negative or not an integer.
    """
    stops = list(stop_token_ids)
    for token in stops:
        if isinstance(token, bool) or not isinstance(token, int | np.integer) or token < 0:
            raise ConfigError(f"stop_token_ids has {token!r}; each must be the id of a token, 0 or more")
    return frozenset(int(token) for token in stops)


def check_new_tokens(max_new_tokens: int) -> None:
    """Raise a ``ConfigError`` unless at least one token is asked for."""
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens} must be 1 or more")


def slots_for(rows: int, each: int = 1) -> int:
    """The slots of a session that is made for ``rows`` prompts, of which each needs ``each``; some prompts may wait."""
    return each * min(rows, max(1, AT_ONCE // each))


def free_slots(session: Session, least: int) -> list[int]:
    """The slots without a sequence.

    Raises:
        ConfigError: if there are fewer than ``least``.
    """
    free = [slot for slot in range(session.slots) if session.length(slot) == 0]
    if len(free) < least:
        raise ConfigError(
            f"{len(free)} of the session's {session.slots} slots are free, but {least} are needed at once; "
            "open it with more slots"
        )
    return free
