"""Prompt lookup: drafts tokens by copying what followed the same words earlier in the text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...errors import ConfigError
from ..sessions.session import Tokens
from .acceptance import Proposal
from .drafts import DraftRequest


class PromptLookup:
    """Drafts without a model. It helps where a text repeats its prompt: summaries, translations of code, corrections.

    The longest end of the text, of ``longest`` tokens at most and ``shortest`` at least, that occurs earlier is
    continued as it was there, at its last occurrence. Source: Saxena, 2023, "Prompt Lookup Decoding".

    Args:
        longest: number of tokens of the ends that are looked up first.
        shortest: number of tokens of the ends that are looked up last, 1 or more.

    Raises:
        ConfigError: if a number is out of range.
    """

    def __init__(self, longest: int = 3, shortest: int = 1) -> None:
        if not 1 <= shortest <= longest:
            raise ConfigError(f"shortest={shortest} must be 1 or more and at most longest={longest}")
        self.longest, self.shortest = longest, shortest

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        """See `Drafter`."""
        return {row: Proposal(self.look_up(request.text, request.most), None) for row, request in requests.items()}

    def release(self, row: int) -> None:
        """See `Drafter`; nothing is kept of a row."""

    def look_up(self, text: Tokens, most: int) -> Tokens:
        """The ``most`` tokens that may follow ``text (n,)``; none if no end of it occurs earlier.

        A copy may run into its own result: ``a b a b`` is continued by ``a b a b …`` for as long as is asked.
        """
        for size in range(min(self.longest, len(text) - 1), self.shortest - 1, -1):
            ends = sliding_window_view(text[:-1], size)  # (n - size, size) all that something follows
            places = np.flatnonzero((ends == text[-size:]).all(axis=1))
            if len(places):
                period = len(text) - size - int(places[-1])  # how far back the copy is taken from
                return text[len(text) - period + np.arange(most) % period]
        return np.empty(0, np.int32)
