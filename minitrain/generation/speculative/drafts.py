"""What drafts tokens: the interface, and a smaller model as a draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...backend.arrays import Array
from ..params import SamplingParams
from ..search.distribution import draw, normalized, weights
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
    """

    text: Tokens
    most: int
    number: Numbers


class Drafter(Protocol):
    """Guesses the next tokens of rows. A guess must not depend on the other rows."""

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        """Draft at most ``most`` tokens for each row, by its number; no token is allowed, too."""
        ...

    def release(self, row: int) -> None:
        """Forget a row, which has ended."""
        ...


class ModelDrafter:
    """Drafts with a model.

    Args:
        session: of the draft model. Each row takes one of its free slots.
        settings: of the target. The draft draws from its own distribution with them.
        stops: a draft ends with the first of these tokens.
        guess: draw each token with the number that the target will draw with, and give no probabilities.
    """

    def __init__(
        self,
        session: Session,
        settings: SamplingParams,
        *,
        stops: frozenset[int],
        guess: bool,
    ) -> None:
        self.session, self.settings, self.stops, self.guess = session, settings, stops, guess
        self._free = free_slots(session, 1)
        self.rows = len(self._free)  # how many there may be at once
        self._contexts: dict[int, SlotContext] = {}

    def propose(self, requests: Mapping[int, DraftRequest]) -> Mapping[int, Proposal]:
        """See `Drafter`. The rows share each pass of the model."""
        drafted: dict[int, list[int]] = {row: [] for row in requests}
        used: dict[int, list[Array]] = {row: [] for row in requests}
        tokens = {row: self._context(row).move(request.text) for row, request in requests.items()}
        limit = {row: min(r.most, self._contexts[row].room(len(r.text)) + 1) for row, r in requests.items()}
        while tokens:
            logits = self.session.extend({self._contexts[row].slot: new for row, new in tokens.items()})
            following = {}
            for row, weight in zip(tokens, weights(logits, self.settings), strict=True):
                request, draft = requests[row], drafted[row]
                token = draw(weight, request.number("token" if self.guess else "draft", len(request.text) + len(draft)))
                draft.append(token)
                used[row].append(weight)
                if len(draft) < limit[row] and token not in self.stops:
                    following[row] = self._contexts[row].add(np.array([token], np.int32))
            tokens = following
        return {
            row: Proposal(np.array(drafted[row], np.int32), None if self.guess else normalized(np.stack(used[row])))
            for row in requests
        }

    def release(self, row: int) -> None:
        """See `Drafter`."""
        if context := self._contexts.pop(row, None):
            context.release()
            self._free.append(context.slot)

    def _context(self, row: int) -> SlotContext:
        if row not in self._contexts:
            self._contexts[row] = SlotContext(self.session, self._free.pop(0))
        return self._contexts[row]
