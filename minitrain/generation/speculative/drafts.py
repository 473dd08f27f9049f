"""Drafters, which propose tokens: the interface, and a smaller model as a draft."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...backend.arrays import Array
from ...errors import TokenError
from ..choosing import check_highest, float_rows
from ..params import SamplingParams
from ..search.distribution import draw, normalized
from ..search.prompts import free_slots
from ..sessions.session import Session, Tokens
from .acceptance import Numbers, Proposal
from .slot_context import SlotContext


@dataclass(frozen=True)
class DraftRequest:
    """A row that asks for a draft.

    Attributes:
        text: (n,) int32 its tokens so far, the prompt included.
        most: how many tokens may be drafted, 1 or more.
        number: its random numbers.
        params: the settings of the request. The number of new tokens may go beyond ``max_new_tokens``.
        weights: the distribution (V,), up to a factor, that all these settings make of logits (V,) after a text (n,).
            It raises an error where they leave no token, or where a function of the user's own does.
    """

    text: Tokens
    most: int
    number: Numbers
    params: SamplingParams
    weights: Callable[[Array, Tokens], Array]


class Drafter(Protocol):
    """Guesses the next tokens of rows. A guess must not depend on the other rows."""

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        """Draft at most ``most`` tokens for each row, by its number; no token is allowed, too."""
        ...

    def release(self, row: int) -> None:
        """Forget a row, which has ended."""
        ...


class ModelDrafter:
    """Drafts with a model, which draws from its own distribution with the settings of the row.

    A draft ends with a stop token, where the draft's context starts again, and where the settings raise an error: the
    model that checks the draft raises it too if the text gets there.

    Args:
        session: of the draft model. Each row takes one of its free slots.
        guess: draw each token with the number that the target will draw with, and give no probabilities. Greedy rows
            are always guessed.
    """

    def __init__(self, session: Session, *, guess: bool) -> None:
        self.session, self.guess = session, guess
        self._free = free_slots(session, 1)
        self.rows = len(self._free)  # how many there may be at once
        self._contexts: dict[int, SlotContext] = {}

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        """See `Drafter`. The rows share each pass of the model."""
        drafts = {row: _Draft(request, self._guesses(request)) for row, request in requests.items()}
        tokens = {row: self._context(row).move(request.text) for row, request in requests.items()}
        limit = {row: min(r.most, self._contexts[row].room(len(r.text)) + 1) for row, r in requests.items()}
        while tokens:
            logits = self.session.extend({self._contexts[row].slot: new for row, new in tokens.items()})
            following = {}
            for row, one in zip(tokens, float_rows(logits), strict=True):
                context, draft = self._contexts[row], drafts[row]
                if draft.add(one, context.text) and len(draft.tokens) < limit[row]:
                    following[row] = context.add(np.array(draft.tokens[-1:], np.int32))
            tokens = following
        return {row: draft.proposal() for row, draft in drafts.items()}

    def _guesses(self, request: DraftRequest) -> bool:
        return self.guess or request.params.temperature == 0

    def release(self, row: int) -> None:
        """See `Drafter`."""
        if context := self._contexts.pop(row, None):
            context.release()
            self._free.append(context.slot)

    def _context(self, row: int) -> SlotContext:
        if row not in self._contexts:
            self._contexts[row] = SlotContext(self.session, self._free.pop(0))
        return self._contexts[row]


class _Draft:
    """The draft of one row as it grows."""

    def __init__(self, request: DraftRequest, guess: bool) -> None:
        self.request, self.guess = request, guess
        self.tokens: list[int] = []
        self._used: list[Array] = []

    def add(self, logits: Array, text: Tokens) -> bool:
        """Draw the token after ``text (n,)``, and say whether another one may follow."""
        request = self.request
        check_highest(logits.max())
        try:
            weight = request.weights(logits, text)
        except TokenError:  # a vocabulary that does not have the tokens of the settings
            raise
        except Exception:  # of the settings: nothing can be drafted here
            return False
        token = draw(weight, request.number("token" if self.guess else "draft", len(text)))
        self.tokens.append(token)
        self._used.append(weight)
        return token not in request.params.stop_token_ids

    def proposal(self) -> Proposal:
        tokens = np.array(self.tokens, np.int32)
        return Proposal(tokens, None if self.guess or not self.tokens else normalized(np.stack(self._used)))
