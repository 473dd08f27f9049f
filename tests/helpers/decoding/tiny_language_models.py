"""Language models that cost nothing: tables, which cover every case that decoding can meet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from minitrain.errors import TokenError
from minitrain.generation.sessions.session import UncachedSession

STATES = 97


class TableModel:
    """A model whose logits are random, but a function of the tokens it sees.

    Args:
        vocab_size: number V of token ids.
        block_size: longest sequence.
        seed: of the table.
        memory: how many of the last tokens count; ``None`` for all.
        levels: round the logits to multiples of this number, so that many are equal; ``None`` for none.
        banned: tokens with the logit ``-inf``.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: int = 64,
        seed: int = 0,
        *,
        memory: int | None = None,
        levels: float | None = None,
        banned: tuple[int, ...] = (),
    ) -> None:
        self.config = SimpleNamespace(vocab_size=vocab_size, block_size=block_size)
        self.memory = memory
        table = 1.5 * np.random.default_rng(seed).standard_normal((STATES, vocab_size))
        self.table = (table if levels is None else levels * np.round(table / levels)).astype(np.float32)
        self.table[:, list(banned)] = -np.inf

    def forward(self, tokens: Any, *, key: Any = None) -> tuple[Any, None]:
        assert key is None  # no dropout while generating
        B, T = tokens.shape
        assert 1 <= T <= self.config.block_size
        if tokens.min() < 0 or tokens.max() >= self.config.vocab_size:
            raise TokenError("a token is outside the vocabulary")
        logits = np.empty((B, T, self.config.vocab_size), np.float32)
        for b, row in enumerate(tokens.tolist()):
            states, state = [], 1
            for t, token in enumerate(row):
                if self.memory is not None:
                    state = 1
                    for earlier in row[max(0, t + 1 - self.memory) : t]:
                        state = (31 * state + earlier + 1) % STATES
                state = (31 * state + token + 1) % STATES
                states.append(state)
            logits[b] = self.table[states]
        return logits, None

    def last(self, text: Any) -> Any:
        """(V,) the logits after a text that fits into the block."""
        return self.forward(np.array([text]))[0][0, -1]


class CountingSession(UncachedSession):
    """Counts what is asked of it.

    Attributes:
        copies: number of copies.
        passes: number of calls of ``extend``.
        most: the largest number of slots in use at once.
    """

    def __init__(self, model: Any, slots: int) -> None:
        super().__init__(model, slots)
        self.copies = self.passes = self.most = 0

    def extend(self, tokens: Any, *, every: bool = False) -> Any:
        logits = super().extend(tokens, every=every)
        self.passes += 1
        self.most = max(self.most, len(self.used()))
        return logits

    def copy(self, source: int, target: int) -> None:
        assert self.length(source) > 0
        super().copy(source, target)
        self.copies += 1

    def used(self) -> list[int]:
        """The slots with a sequence."""
        return [slot for slot in range(self.slots) if self.length(slot)]
