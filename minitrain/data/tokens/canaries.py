"""Canaries: made-up secrets that are planted in a training text, to see afterwards what the model remembers of them.

A canary is a sentence with random digits (Carlini et al., "The Secret Sharer", 2019, arXiv:1802.08232). All are a pure
function of the key, so a run need not keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError
from ...random import Key, random_bits
from .token_array import TokenArray

DIGITS = 8
"""Digits of a secret: 10**8 are possible, 26.6 bits."""


class Canary(NamedTuple):
    """A made-up secret.

    Attributes:
        prefix: the text before the digits; no two canaries share it.
        secret: the digits.
    """

    prefix: str
    secret: str

    @property
    def text(self) -> str:
        """The whole line, with the line's end before and after it."""
        return f"{self.prefix}{self.secret}\n"


def make_canaries(count: int, key: Key) -> list[Canary]:
    """``count`` canaries with secrets of their own.

    Raises:
        ConfigError: if ``count`` is negative.
    """
    if count < 0:
        raise ConfigError(f"the number of canaries must be 0 or more, not {count}")
    secrets = random_secrets(count, key.fold("canaries"))
    return [Canary(f"\nThe code of locker {number} is ", secret) for number, secret in enumerate(secrets)]


def random_secrets(count: int, key: Key) -> list[str]:
    """``count`` different secrets, each as likely as any other.

    Raises:
        ConfigError: if there are not so many.
    """
    if count > 10**DIGITS // 2:
        raise ConfigError(f"there are too few secrets of {DIGITS} digits to draw {count:,} different ones")
    found: dict[int, None] = {}
    draw = 0
    while len(found) < count:
        words = random_bits(key.fold(draw), (1, 2 * count))[0].astype(np.uint64)
        numbers = ((words[0::2] << np.uint64(32)) | words[1::2]) % np.uint64(10**DIGITS)  # even to one in 2**37
        found.update(dict.fromkeys(numbers.tolist()))
        draw += 1
    return [f"{number:0{DIGITS}d}" for number in list(found)[:count]]


def plant(tokens: TokenArray, canaries: Sequence[TokenArray], repeats: int, key: Key) -> NDArray[np.int64]:
    """The tokens with each canary in ``repeats`` random places; nothing is taken out.

    Args:
        tokens: ``(N,)`` token ids.
        canaries: ``(n,)`` token ids each.
        repeats: how often each is planted.
        key: random key of the places.

    Returns:
        The ``(N + repeats * sum of n,)`` token ids.

    Raises:
        ConfigError: if ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ConfigError(f"a canary is planted once or more often, not {repeats} times")
    planted = [np.asarray(canary, np.int64) for canary in canaries for _ in range(repeats)]
    words = random_bits(key.fold("places"), (1, len(planted)))[0].astype(np.int64)
    places = (words * (tokens.size + 1)) >> 32
    order = np.argsort(places, kind="stable")
    parts, last = [], 0
    for index in order.tolist():
        parts += [np.asarray(tokens[last : places[index]], np.int64), planted[index]]
        last = int(places[index])
    return np.concatenate([*parts, np.asarray(tokens[last:], np.int64)])
