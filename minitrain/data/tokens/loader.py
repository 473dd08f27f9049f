"""Batches of a token stream: in a seeded order for training, from beginning to end for evaluation.

The loader keeps no position. The windows of a batch are a pure function of ``(seed, step)``. So resuming a run needs
only the number of its step, and no batch depends on those requested before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import check_plain
from ...errors import ConfigError, DataError
from ...random import Key, checked_seed, random_bits
from ..ids import as_int32
from ..loading.batches import Batch, checked_step, split_batch
from ..loading.order import across_epochs
from ..loading.parts import borders
from .token_array import TokenArray


class TokenLoader:
    """Training batches in an order that is a pure function of the seed and the step.

    An epoch has adjacent windows of ``block_size`` tokens, from a random offset on, in a random order; offset and order
    are functions of ``(seed, epoch)``. The offset shifts the windows' borders from epoch to epoch, so that every token
    of the text is seen. Batch ``step`` has the positions from ``step * batch_size`` on in the sequence of all epochs;
    it may reach into the next epoch.

    The order comes from Philox and a sort, so it does not depend on the version of NumPy.

    Attributes:
        tokens: ``(N,)`` the token ids, usually a memory map.
        block_size: T, tokens in a window.
        batch_size: B, windows in a batch.
        seed: the seed of the order, from 0 to 2**64 - 1.
        windows_per_epoch: number of windows in an epoch.
        steps_per_epoch: number of batches with these windows; the last one may reach into the next epoch.
    """

    def __init__(self, tokens: TokenArray, block_size: int, batch_size: int, seed: int) -> None:
        """Compute the number of windows.

        Raises:
            DataError: if the text is too short for one window.
            ConfigError: if a size is below 1.
        """
        _check_sizes(tokens, block_size, batch_size)
        count = tokens.shape[0]
        if count < block_size + 1:
            shorter = f"use a longer text or a block_size of at most {count - 1}" if count > 1 else "use a longer text"
            raise DataError(
                f"the training text has {count} tokens, too few for block_size={block_size}, which needs "
                f"{block_size + 1}, the last one as a target only: {shorter}"
            )
        self.tokens: Any = tokens
        self.block_size = block_size
        self.batch_size = batch_size
        self.seed = checked_seed(seed)
        # One block fewer than would fit, so that all windows fit at every offset in [0, block_size).
        self.windows_per_epoch = max(1, count // block_size - 1)
        self.steps_per_epoch = -(-self.windows_per_epoch // batch_size)
        self._key = Key.from_seed(self.seed).fold("data")
        self._latest: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, dtype=np.int64))

    def window_starts(self, epoch: int) -> NDArray[np.int64]:
        """The starts of the windows of ``epoch``, in order: int64 ``(windows_per_epoch,)``."""
        latest, starts = self._latest
        if latest != epoch:
            bits = random_bits(self._key.fold(epoch), (1, 1 + self.windows_per_epoch))[0]
            room = self.tokens.shape[0] - 1 - self.windows_per_epoch * self.block_size
            offset = int(bits[0]) % (room + 1)
            order = np.argsort(bits[1:], kind="stable")
            starts = offset + order * self.block_size
            starts.flags.writeable = False
            self._latest = (epoch, starts)  # of one epoch only: a step rarely needs another
        return starts

    def batch(self, step: int) -> Batch:
        """The batch of training step ``step``, counted from 0; ``(batch_size, block_size)`` each.

        Raises:
            ConfigError: if ``step`` is negative.
            TokenError: if a token id does not fit into 32 bits.
        """
        return self.samples(checked_step(step) * self.batch_size, self.batch_size)

    def samples(self, first: int, count: int) -> Batch:
        """Windows ``first … first + count - 1`` of the sequence of all epochs; ``(count, block_size)`` each.

        Raises:
            TokenError: if a token id does not fit into 32 bits.
        """
        starts = across_epochs(self.window_starts, self.windows_per_epoch, first, count)
        return _windows(self.tokens, starts, self.block_size)

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Batch]]:
        """Batch ``step`` in ``accumulation`` parts, each with the index of its first sample; see `split_batch`.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above ``batch_size``.
        """
        return split_batch(self.batch(step), accumulation)

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, Batch]]:
        """The micro-batches ``wanted`` of `micro_batches`; the tokens of no other are read.

        Raises:
            ConfigError: if ``accumulation`` is below 1 or above ``batch_size``.
        """
        start = checked_step(step) * self.batch_size
        cut = borders(self.batch_size, accumulation, wanted)
        return [(first, self.samples(start + first, count)) for first, count in cut]


def evaluation_batches(tokens: TokenArray, block_size: int, batch_size: int) -> Iterator[Batch]:
    """The whole text in adjacent windows, in order, with nothing dropped.

    Every token except the first is a target exactly once. The last batch may have fewer rows; tokens that do not
    fill a window come last, as a batch of one shorter row.

    Args:
        tokens: ``(N,)`` token ids, N >= 2.
        block_size: T, tokens in a window.
        batch_size: B, windows in a batch.

    Yields:
        Batches of at most ``(batch_size, block_size)``. Weight their losses by their numbers of targets.

    Raises:
        DataError: if there are fewer than two tokens, so there is nothing to predict.
        ConfigError: if a size is below 1.
    """
    _check_sizes(tokens, block_size, batch_size)
    if tokens.shape[0] < 2:
        raise DataError(
            f"the evaluation text has {tokens.shape[0]} tokens, and at least 2 are needed: "
            "use a longer text or a larger data.val_fraction"
        )
    return _evaluation_batches(tokens, block_size, batch_size)


def _evaluation_batches(tokens: TokenArray, block_size: int, batch_size: int) -> Iterator[Batch]:
    full, rest = divmod(tokens.shape[0] - 1, block_size)
    for first in range(0, full, batch_size):
        yield _windows(tokens, np.arange(first, min(first + batch_size, full)) * block_size, block_size)
    if rest:
        yield _windows(tokens, np.array([full * block_size]), rest)


def _windows(tokens: TokenArray, starts: NDArray[np.int64], length: int) -> Batch:
    """Copies of the windows of ``length`` tokens at ``starts``, and of the next token of each.

    Raises:
        TokenError: if a token id does not fit into 32 bits.
    """
    rows = as_int32(tokens[starts[:, None] + np.arange(length + 1)])  # (B, length + 1)
    return Batch(np.array(rows[:, :-1], order="C"), np.array(rows[:, 1:], order="C"))


def _check_sizes(tokens: TokenArray, block_size: int, batch_size: int) -> None:
    if not hasattr(tokens, "ndim"):
        raise DataError(f"tokens must be an (N,) array of integers, not a {type(tokens).__name__}: numpy.array(tokens)")
    check_plain("TokenLoader: tokens", tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise DataError(f"tokens must be an (N,) array of integers, not {tokens.dtype} of shape {tokens.shape}")
    for name, size in (("block_size", block_size), ("batch_size", batch_size)):
        if size < 1:
            raise ConfigError(f"{name} must be at least 1, not {size}")
