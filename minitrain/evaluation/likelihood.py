"""The probability of continuations, each after the same context, which is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..backend.arrays import Array, array_module
from ..errors import ConfigError, DataError, ShapeError
from ..generation.sessions.session import Session, Tokens
from ..measures.predictions import predictions


class Likelihood(NamedTuple):
    """How likely a continuation is.

    Attributes:
        nats: the log-probability of all its tokens together.
        tokens: how many there are.
        greedy: whether each of its tokens is the most likely one, so that greedy decoding would write it.
    """

    nats: float
    tokens: int
    greedy: bool


class ContinuationScorer:
    """Scores continuations of contexts with a session.

    Slot 0 keeps the context. The next context goes on from what it shares with the one before, such as the examples in
    front of many questions. Continuations run together, each in a slot of its own with a copy of the context.

    Args:
        session: a session with two slots or more; its sequences are given up.

    Raises:
        ConfigError: if the session has one slot only.
    """

    def __init__(self, session: Session) -> None:
        if session.slots < 2:
            raise ConfigError("slots = 1 must be 2 or more: one for the context, the others for continuations of it")
        self.session = session
        self.free()

    def free(self) -> None:
        """Forget the context, so that all slots are free."""
        self._context: Tokens = np.zeros(0, np.int32)
        for slot in range(self.session.slots):
            self.session.cut(slot, 0)

    def score(self, context: Tokens, continuations: Sequence[Tokens]) -> list[Likelihood]:
        """The likelihood of each continuation.

        A context that does not fit with its continuation loses its first tokens.

        Args:
            context: (n,) token ids, at least one.
            continuations: (m,) token ids each, at most ``session.longest``. One without tokens has probability 1.

        Raises:
            DataError: if a continuation is too long.
            ShapeError: if the context is empty.
            TokenError: from the session, if a token is outside the vocabulary.
        """
        if len(context) == 0:
            raise ShapeError("the context is empty: a model predicts after one token or more")
        found = [Likelihood(0.0, 0, True)] * len(continuations)
        by_start: dict[int, list[int]] = {}
        for i, tokens in enumerate(continuations):
            if len(tokens) > self.session.longest:
                raise DataError(
                    f"a continuation has {len(tokens):,} tokens, and the model's block_size is {self.session.longest:,}"
                )
            if len(tokens):
                start = max(0, len(context) + len(tokens) - 1 - self.session.longest)
                by_start.setdefault(start, []).append(i)
        for start, members in by_start.items():
            after = self._hold(context[start:])
            step = self.session.slots - 1
            for begin in range(0, len(members), step):
                part = members[begin : begin + step]
                for i, one in zip(part, self._score(after, [continuations[i] for i in part]), strict=True):
                    found[i] = one
        return found

    def _hold(self, context: Tokens) -> Array:
        """Put a context into slot 0; returns the logits (1, V) after it."""
        most = min(len(context) - 1, len(self._context))
        differ = np.flatnonzero(context[:most] != self._context[:most])
        shared = int(differ[0]) if len(differ) else most
        self.session.cut(0, shared)
        self._context = context[:shared]  # what is there if a token is refused now
        after = self.session.extend({0: context[shared:]})
        self._context = context
        return after

    def _score(self, after: Array, continuations: list[Tokens]) -> list[Likelihood]:
        """The likelihoods of as many continuations as there are free slots."""
        longer = {slot: tokens[:-1] for slot, tokens in enumerate(continuations, 1) if len(tokens) > 1}
        for slot in longer:
            self.session.copy(0, slot)
        try:
            rows = self.session.extend(longer, every=True) if longer else after  # (M, V)
        finally:
            for slot in longer:
                self.session.cut(slot, 0)
        found, begin, xp = [], 0, array_module(after)
        for tokens in continuations:
            end = begin + len(tokens) - 1
            predicted = predictions(xp.concatenate([after, rows[begin:end]]), tokens)
            found.append(Likelihood(float(predicted.log_probability.sum()), len(tokens), bool(predicted.hit.all())))
            begin = end
        return found
