"""Masked tokens: some tokens of a window are hidden, and a model has to find them from those around.

That is the objective of BERT (Devlin et al., 2018, arXiv:1810.04805, section 3.1). Of each window, 15 % of the tokens
are chosen to be predicted. Of these, 80 % are replaced by the mask token, 10 % by a random token, and 10 % stay as they
are: so the model has to describe every position, not the masks alone.

What is chosen is a function of the key and the number of the window, not of the batch it is in. So any split of a
batch, a resumed run and an evaluation with another batch size see the same masks.

The mask token has the id after the last one of the tokenizer, so every tokenizer has one, and no text encodes to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...random import Key, random_bits
from ..ids import as_int32
from ..loading.batches import IGNORED, Batch, checked_batch_size, split_batch
from .loader import TokenLoader
from .token_array import TokenArray

SHARE = 0.15
"""Share of the tokens that BERT predicts."""
MASKED, RANDOM = 0.8, 0.1
"""Shares of these that become the mask token, and a random one."""


def mask_tokens(tokens: NDArray[Any], key: Key, *, vocab_size: int, share: float = SHARE) -> Batch:
    """Hide some tokens of each window.

    Args:
        tokens: (B, T) token ids below ``vocab_size``.
        key: random key; ``key.sample`` is the number of the first window.
        vocab_size: number V of the tokenizer's ids; V itself is the mask token.
        share: of the T tokens, how many are chosen, rounded, but at least one.

    Returns:
        ``inputs`` (B, T) with ids up to V, and ``targets`` (B, T): the token where it was chosen, else -100.

    Raises:
        ConfigError: if ``share`` is not above 0 and below 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share={share} of the tokens must be above 0 and below 1; BERT has {SHARE}")
    B, T = tokens.shape
    order, fate, other = (random_bits(key.fold(name), (B, T)) for name in ("order", "fate", "other"))
    ranks = np.argsort(np.argsort(order, kind="stable"), kind="stable")  # (B, T): of each token's number in its row
    chosen = ranks < max(1, round(share * T))
    drawn = fate * 2.0**-32  # (B, T) in [0, 1)
    random_tokens = (other.astype(np.uint64) * vocab_size >> np.uint64(32)).astype(np.int32)
    inputs = np.where(chosen & (drawn < MASKED), np.int32(vocab_size), as_int32(tokens))
    inputs = np.where(chosen & (drawn >= MASKED) & (drawn < MASKED + RANDOM), random_tokens, inputs)
    return Batch(inputs, np.where(chosen, as_int32(tokens), np.int32(IGNORED)))


class MaskedTokenLoader:
    """Training batches of masked windows, in the order of a `TokenLoader`. Each epoch hides other tokens.

    Args:
        tokens: ``(N,)`` token ids.
        block_size: T, tokens in a window.
        batch_size: B, windows in a batch.
        seed: of the order and of the masks.
        vocab_size: see `mask_tokens`.
        share: see `mask_tokens`.

    Raises:
        DataError: if the text is too short for one window.
        ConfigError: if a number is out of range.
    """

    def __init__(
        self, tokens: TokenArray, block_size: int, batch_size: int, seed: int, *, vocab_size: int, share: float = SHARE
    ) -> None:
        self.windows = TokenLoader(tokens, block_size, batch_size, seed)
        self.vocab_size, self.share = vocab_size, share
        self._key = Key.from_seed(seed).fold("masks")

    @property
    def steps_per_epoch(self) -> int:
        """See `TokenLoader`."""
        return self.windows.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """The batch of training step ``step``, counted from 0.

        Raises:
            ConfigError: if ``step`` is negative.
        """
        tokens = self.windows.batch(step).inputs
        return mask_tokens(tokens, self._key.fold(step), vocab_size=self.vocab_size, share=self.share)

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Batch]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample; see `split_batch`.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above the batch size.
        """
        return split_batch(self.batch(step), accumulation)

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, Batch]]:
        """The micro-batches ``wanted`` of `micro_batches`; the tokens of no other are read.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above the batch size.
        """
        key, parts = self._key.fold(step), self.windows.some_micro_batches(step, accumulation, wanted)
        return [
            (first, mask_tokens(part.inputs, key.at_sample(first), vocab_size=self.vocab_size, share=self.share))
            for first, part in parts
        ]


class MaskedWindows:
    """A held-out text in masked windows side by side; the masks are a function of the seed and the window alone.

    Tokens that do not fill a window come last, as a batch of one shorter row.

    Args:
        tokens: ``(N,)`` token ids.
        block_size: T, tokens in a window.
        batch_size: windows in a batch.
        seed: of the masks.
        vocab_size: see `mask_tokens`.
        share: see `mask_tokens`.

    Raises:
        DataError: if there is no token.
        ConfigError: if a size is below 1.
    """

    def __init__(
        self, tokens: TokenArray, block_size: int, batch_size: int, *, seed: int, vocab_size: int, share: float = SHARE
    ) -> None:
        (N,) = tokens.shape
        if not N:
            raise DataError("the held-out text has no tokens: use a longer text or a larger data.val_fraction")
        if block_size < 1:
            raise ConfigError(f"block_size must be at least 1, not {block_size}")
        self.tokens, self.block_size, self.batch_size = tokens, block_size, checked_batch_size(batch_size)
        self.vocab_size, self.share = vocab_size, share
        self.full, self.rest = divmod(N, block_size)
        self._key = Key.from_seed(seed).fold("masks of the evaluation")

    def __iter__(self) -> Iterator[Batch]:
        for first in range(0, self.full, self.batch_size):
            yield self.batch(first, min(self.batch_size, self.full - first))
        if self.rest:
            yield self._masked(self.full, self.tokens[self.full * self.block_size :][None])

    def spread(self, count: int) -> Iterator[Batch]:
        """``count`` batches, spread evenly over the text, with the masks that they have among all batches."""
        starts = range(0, self.full, self.batch_size)
        if count >= len(starts):
            return iter(self)
        chosen = np.linspace(0, len(starts) - 1, count).round().astype(int)
        return (self.batch(starts[i], min(self.batch_size, self.full - starts[i])) for i in chosen)

    def windows(self, first: int, count: int) -> NDArray[np.int32]:
        """The tokens (count, T) of full windows from number ``first`` on."""
        T = self.block_size
        return as_int32(self.tokens[first * T : (first + count) * T]).reshape(count, T)

    def batch(self, first: int, count: int) -> Batch:
        """Full windows from number ``first`` on, masked."""
        return self._masked(first, self.windows(first, count))

    def _masked(self, first: int, rows: NDArray[Any]) -> Batch:
        return mask_tokens(rows, self._key.at_sample(first), vocab_size=self.vocab_size, share=self.share)
