"""Synthetic text with structure to learn: a seeded first-order Markov chain, the same for every program."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Tokens = np.ndarray[Any, Any]

CHAINS = 512  # independent chains walked side by side, so that NumPy does the loop
SUCCESSORS = 4  # tokens that may follow a token


class Batch(NamedTuple):
    """Inputs and targets of one step, ``(B, T)`` integers; the targets are the inputs shifted by one."""

    inputs: Tokens
    targets: Tokens


def markov_tokens(vocab_size: int, count: int = 200_000, seed: int = 0) -> Tokens:
    """At least ``count`` ids, int32, of a chain in which every token has a few likely successors."""
    rng = np.random.default_rng(seed)
    successors = rng.integers(0, vocab_size, (vocab_size, SUCCESSORS))
    length = -(-count // CHAINS)
    walks = np.empty((CHAINS, length), np.int32)
    current = rng.integers(0, vocab_size, CHAINS)
    for position in range(length):
        walks[:, position] = current
        followed = successors[current, rng.integers(0, SUCCESSORS, CHAINS)]
        current = np.where(rng.random(CHAINS) < 0.9, followed, rng.integers(0, vocab_size, CHAINS))
    return walks.reshape(-1)


class BatchStream:
    """Random windows of a token stream; equal seeds give every program the same batches in the same order."""

    def __init__(self, tokens: Tokens, batch_size: int, block_size: int, seed: int = 1) -> None:
        self._tokens = tokens
        self._batch_size = batch_size
        self._block_size = block_size
        self._rng = np.random.default_rng(seed)

    def next(self, dtype: Any) -> Batch:
        """The next batch, its ids of type ``dtype``."""
        starts = self._rng.integers(0, len(self._tokens) - self._block_size, self._batch_size)
        windows = self._tokens[starts[:, None] + np.arange(self._block_size + 1)].astype(dtype)
        return Batch(np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:]))
