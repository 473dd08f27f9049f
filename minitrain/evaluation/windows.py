"""The windows of a text: each token is scored once, with as many tokens before it as the stride leaves.

A model sees ``block_size`` tokens at once. Windows side by side give the first token of each window one token of
context only, so the loss is too high. Windows that overlap, each ``stride`` tokens after the one before, give every
token ``block_size - stride`` tokens and more; they cost ``block_size / stride`` times as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from ..errors import ConfigError


class Window(NamedTuple):
    """A part of a text that the model sees at once.

    Its inputs are the tokens from ``start`` to ``end - 1``, and its targets those from ``start + 1`` to ``end``.

    Attributes:
        start: the first input.
        end: the last target.
        scored: how many of the last targets are scored here; windows before this one have scored the others.
    """

    start: int
    end: int
    scored: int


def windows(tokens: int, longest: int, stride: int) -> Iterator[Window]:
    """The windows of a text; every token but the first is scored in exactly one of them.

    Each window ends with its last scored token, and begins ``longest`` tokens before it, or where the text begins.

    Args:
        tokens: the number of tokens of the text.
        longest: the most tokens that the model sees, its ``block_size``.
        stride: the tokens that a window scores, from 1 to ``longest``. The first window scores all it has.

    Raises:
        ConfigError: if the stride is out of range.
    """
    check_stride(stride, longest)
    if tokens < 2:
        return
    between = range(longest, tokens - 1, stride)  # where one window's targets end and the next one's begin
    for done, end in zip(chain([0], between), chain(between, [tokens - 1]), strict=True):
        yield Window(max(0, end - longest), end, end - done)


def check_stride(stride: int, longest: int) -> None:
    """Raise a ``ConfigError`` unless a stride is from 1 to ``longest``."""
    if isinstance(stride, bool) or not isinstance(stride, int) or not 1 <= stride <= longest:
        raise ConfigError(
            f"stride={stride!r} must be from 1 to {longest}, the model's block_size: smaller strides give each token "
            "more context and take longer"
        )
