"""Batches of sequences of similar length, each within a token budget: little padding, even memory.

Sequences are sorted into *buckets* by length, equally many in each. An epoch shuffles every bucket, cuts it into
batches, and shuffles the batches. The number of batches of a bucket does not depend on the order, so a batch can be
found by the number of its step.

Samples of two sequences, such as pairs of texts, count the tokens of both, each side padded to its own longest. Their
buckets are similar on both sides: sorted by the first, cut into groups, and each group sorted by the second.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ...random import Key
from ..loading.batches import batch_rows, checked_step, split_batch
from ..loading.order import shuffled
from ..loading.parts import borders
from .collate import pad_collate
from .samples import Collate, Samples


class BucketLoader:
    """Batches of similar lengths; a `Loader`.

    Attributes:
        dataset: the sequences.
        lengths: ``(N,)`` their lengths, or ``(N, 2)`` those of both sides of pairs.
        max_tokens: largest number of tokens in a batch, including padding, of both sides together.
        collate: pads a list of samples into a batch.
        steps_per_epoch: batches in an epoch, which has every sequence once.
    """

    def __init__(
        self,
        dataset: Samples,
        lengths: NDArray[Any],
        *,
        max_tokens: int,
        seed: int,
        buckets: int = 8,
        collate: Collate = pad_collate,
    ) -> None:
        """Fill the buckets.

        Args:
            dataset: N sequences.
            lengths: ``(N,)`` their lengths, or ``(N, 2)`` those of both sides; at least 1.
            max_tokens: upper limit of rows times columns of a batch; with two sides, of the sum of both.
            seed: seed of the order.
            buckets: how many; more buckets mean less padding and less mixing.
            collate: makes a batch of samples.

        Raises:
            ConfigError: if a number is below 1.
            DataError: if the lengths do not fit the data set, or one is above ``max_tokens``.
        """
        lengths = np.asarray(lengths)
        if buckets < 1 or max_tokens < 1:
            raise ConfigError(f"buckets={buckets} and max_tokens={max_tokens} must be at least 1")
        shapes = ((len(dataset),), (len(dataset), 2))
        if lengths.shape not in shapes or lengths.dtype.kind not in "iu" or not lengths.size or lengths.min() < 1:
            raise DataError(
                f"lengths must be {len(dataset)} integers of 1 or more, one for each sample (or two, for pairs), "
                f"not {lengths.dtype} {lengths.shape}; there must be at least one sample, and none of length 0"
            )
        sides = lengths.reshape(len(dataset), -1).astype(np.int64)  # (N, 1) or (N, 2)
        longest = int(sides.sum(1).argmax())
        if (tokens := int(sides[longest].sum())) > max_tokens:
            raise DataError(
                f"sample {longest} has {tokens} tokens, more than max_tokens={max_tokens} for a whole batch: "
                "raise max_tokens, or shorten the sample"
            )
        self.dataset, self.lengths, self.max_tokens, self.collate = dataset, lengths, max_tokens, collate
        members = _buckets_of(sides, min(buckets, len(sides)))
        self._buckets = [(bucket, _batches_of(sides[bucket], max_tokens)) for bucket in members]
        self.steps_per_epoch = sum(count for _, count in self._buckets)
        self._key = Key.from_seed(seed).fold("buckets")
        self._latest: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of ``epoch`` in order, each as the int64 indices of its samples."""
        latest, plan = self._latest
        if latest != epoch:
            key = self._key.fold(epoch)
            batches = [
                batch
                for number, (bucket, count) in enumerate(self._buckets)
                for batch in np.array_split(bucket[shuffled(key.fold(number), bucket.size)], count)
            ]
            order = shuffled(key.fold("batches"), len(batches))
            plan = [batches[i] for i in order.tolist()]
            self._latest = (epoch, plan)
        return plan

    def batch(self, step: int) -> Any:
        """The batch of step ``step``, counted from 0.

        Raises:
            ConfigError: if ``step`` is negative.
        """
        epoch, index = divmod(checked_step(step), self.steps_per_epoch)
        return self.collate([self.dataset[i] for i in self.plan(epoch)[index].tolist()])

    def micro_batches(self, step: int, accumulation: int) -> list[tuple[int, Any]]:
        """Batch ``step`` in ``accumulation`` parts, or fewer if it has fewer rows: long sequences make small batches.

        Raises:
            ConfigError: if ``accumulation`` is below 1.
        """
        batch = self.batch(step)
        return split_batch(batch, min(accumulation, batch_rows(batch)))

    def some_micro_batches(self, step: int, accumulation: int, wanted: range) -> list[tuple[int, Any]]:
        """The micro-batches ``wanted``, as far as there are so many; each is padded by itself.

        Raises:
            ConfigError: if ``accumulation`` is below 1.
        """
        epoch, index = divmod(checked_step(step), self.steps_per_epoch)
        rows = self.plan(epoch)[index].tolist()
        parts = min(accumulation, len(rows))
        cut = borders(len(rows), parts, range(wanted.start, min(wanted.stop, parts), wanted.step))
        return [(first, self.collate([self.dataset[i] for i in rows[first : first + n]])) for first, n in cut]


def _buckets_of(sides: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """The samples of ``count`` buckets, each of similar lengths on all sides.

    Args:
        sides: ``(N, 1)`` or ``(N, 2)`` lengths, N at least ``count``.
        count: how many.
    """
    by_first = np.argsort(sides[:, 0], kind="stable")
    if sides.shape[1] == 1:
        return np.array_split(by_first, count)
    groups = math.isqrt(count)
    # Buckets for each group that differ by at most one, as groups do in size.
    shares = [count * (group + 1) // groups - count * group // groups for group in range(groups)]
    cuts = np.cumsum([len(sides) * share // count for share in shares])[:-1]
    return [
        bucket
        for group, share in zip(np.split(by_first, cuts), shares, strict=True)
        for bucket in np.array_split(group[np.argsort(sides[group, 1], kind="stable")], share)
    ]


def _batches_of(sides: NDArray[np.int64], max_tokens: int) -> int:
    """How many batches a bucket of samples of lengths ``sides`` makes, in any order."""
    rows = max_tokens // int(sides.max(0).sum())
    return -(-len(sides) // rows)
