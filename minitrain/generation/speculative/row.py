"""One row of speculative decoding: its text, its random numbers, and how much it drafts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...backend.arrays import Array
from ...errors import ShapeError
from ...random import Key, uniform_number
from ..sessions.session import Tokens
from .acceptance import Proposal, accept_drawn, accept_guesses
from .slot_context import SlotContext


@dataclass(frozen=True)
class Speculated:
    """The result of a row.

    Attributes:
        tokens: (n,) int32 the new tokens; the last one is a stop token if the row stopped.
        drafted: how many tokens were drafted.
        accepted: how many of these were kept.
        passes: how many times the model checked a draft, the empty one too.
    """

    tokens: Tokens = field(compare=False)
    drafted: int
    accepted: int
    passes: int

    @property
    def acceptance_rate(self) -> float:
        """``accepted / drafted``, and 0 if nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else 0.0


class Row:
    """A text that grows.

    Args:
        prompt: (n,) int32.
        context: the model's context of the text.
        key: of the row; ``None`` at temperature 0.
        draft_tokens: how many tokens to draft at first.
        max_draft_tokens: how many at most; ``None`` for always ``draft_tokens``.

    Attributes:
        text: (n,) int32 the prompt and the new tokens.
        stopped: whether the last token is a stop token.
    """

    def __init__(
        self, prompt: Tokens, context: SlotContext, key: Key | None, draft_tokens: int, max_draft_tokens: int | None
    ) -> None:
        self.text, self.context, self.stopped = prompt, context, False
        self.draft_tokens, self.max_draft_tokens = draft_tokens, max_draft_tokens
        self._prompt, self._key = len(prompt), key
        self._drafted = self._accepted = self._passes = 0

    @property
    def new(self) -> int:
        """The number of new tokens."""
        return len(self.text) - self._prompt

    def number(self, purpose: str, position: int) -> float:
        """The row's random number for a purpose and a position of the text; 0 at temperature 0."""
        return 0.0 if self._key is None else uniform_number(self._key.fold(purpose, position))

    def keep(self, proposal: Proposal, target: Array, stops: frozenset[int]) -> None:
        """Extend the text by what the target keeps of a draft and the token that it adds, up to a stop token.

        Args:
            proposal: k drafted tokens.
            target: (k + 1, V) the target's distributions, up to a factor of each row.
            stops: tokens that end the text.
        """
        drafted, draft = proposal
        if draft is None:
            kept = accept_guesses(drafted, target, self.number, len(self.text))
        elif draft.shape == (len(drafted), target.shape[1]):
            kept = accept_drawn(drafted, draft, target, self.number, len(self.text))
        else:
            raise ShapeError(
                f"the draft's probabilities have shape {draft.shape}, expected {(len(drafted), target.shape[1])}, one "
                "for each token of the model's vocabulary: the draft needs the same vocabulary"
            )
        self._drafted += len(drafted)
        self._accepted += len(kept) - 1
        self._passes += 1
        if self.max_draft_tokens is not None and len(drafted):
            whole = len(kept) > len(drafted)
            self.draft_tokens = min(self.draft_tokens + 2 if whole else len(kept), self.max_draft_tokens)
        for i, token in enumerate(kept):
            if token in stops:
                kept, self.stopped = kept[: i + 1], True
                break
        self.text = np.concatenate([self.text, np.array(kept, np.int32)])

    def result(self, max_new_tokens: int) -> Speculated:
        """The first ``max_new_tokens`` new tokens, and the counts."""
        new = self.text[self._prompt : self._prompt + max_new_tokens]
        return Speculated(new, self._drafted, self._accepted, self._passes)
