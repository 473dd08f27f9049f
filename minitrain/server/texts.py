"""From the events of a sample to its text: pieces that split no character, up to the first stop string."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from ..generation import Detokenizer, Event, StopStrings
from ..generation.text.detokenize import bytes_of_tokens

LEAST_LOGPROB = -9999.0
"""Stands for ``-inf``, which JSON does not have."""


class Token(NamedTuple):
    """A token of a sample.

    Attributes:
        id: its number.
        offset: where in the text of the sample the text that it completed begins.
        logprob: its log-probability.
        best: the most likely tokens in its place, with theirs.
    """

    id: int
    offset: int
    logprob: float
    best: tuple[tuple[int, float], ...]


class Piece(NamedTuple):
    """The content of an event: text, the tokens behind it, and why the sample ended, if it did."""

    text: str
    tokens: list[Token]
    finish_reason: str | None


class SampleText:
    """Turns the events of one sample into text.

    Text that may begin a stop string is held back until it is known, and its tokens with it. Tokens of the stop string
    are left out, and so is the end token, which is no text.

    Args:
        tokenizer: the model's.
        prompt: the tokens before.
        stop: the stop strings.
        least: the fewest tokens of the sample; a stop string begins in the text of the last of them or later.
    """

    def __init__(self, tokenizer: Any, prompt: Iterable[int], stop: Collection[str], least: int = 0) -> None:
        self._detokenizer = Detokenizer(tokenizer, after=prompt)
        self._stop = StopStrings(stop, after=max(0, least - 1))
        self._held: list[Token] = []
        self._length = self._shown = 0  # characters of the text, and of what was let through
        self.count = 0
        self.ended = False

    def add(self, event: Event) -> Piece:
        """The content of an event; nothing after the end."""
        if self.ended:
            return Piece("", [], None)
        text, reason = "", event.finish_reason
        if event.token is not None and not isinstance(event.stopped_by, int):
            self.count += 1
            self._held.append(Token(event.token, self._length, finite(event.logprob or 0.0), event.best))
            text = self._let_through(self._detokenizer.add(event.token))
        if self._stop.found is None and reason is not None:
            text += self._let_through(self._detokenizer.finish())
            last = self._stop.finish()
            self._shown += len(last)
            text += last
        if self._stop.found is not None:
            reason = "stop"
        self.ended = reason is not None
        return Piece(text, self._release(), reason)

    def _let_through(self, text: str) -> str:
        self._length += len(text)
        shown = self._stop.add(text)
        self._shown += len(shown)
        return shown

    def _release(self) -> list[Token]:
        """The tokens whose text was let through."""
        if not self.ended:
            if self._shown < self._length:
                return []
            released, self._held = self._held, []
            return released
        whole = self._stop.found is None
        return [token for token in self._held if whole or token.offset < self._shown]


def finite(logprob: float) -> float:
    """A log-probability that JSON can hold."""
    return logprob if math.isfinite(logprob) else LEAST_LOGPROB


class TokenNames:
    """The text of single tokens, to show them.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._bytes = tokenizer, bytes_of_tokens(tokenizer)

    def bytes_of(self, token: int) -> bytes:
        """The text of a token; nothing for a special token, and for one that only the model has."""
        if self._bytes is None:
            try:
                return str(self._tokenizer.decode([token])).encode(errors="replace")
            except IndexError:
                return b""
        return self._bytes[token] if token < len(self._bytes) else b""

    def text_of(self, token: int) -> str:
        """A token as text: bytes that are no character become U+FFFD, and a special token its name."""
        return self.bytes_of(token).decode(errors="replace") or self.special(token)

    def special(self, token: int) -> str:
        """The name of a token without text, or what stands for it."""
        for name, number in getattr(self._tokenizer, "special_tokens", {}).items():
            if number == token:
                return str(name)
        return f"<{token}>"
