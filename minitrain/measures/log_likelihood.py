"""Perplexity and bits per byte, from the log-probabilities of the targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..data.loading.batches import IGNORED
from ..data.tokens.baselines import bits
from .base import SampleMeasure, as_rows, ratio
from .fields import Targets, counted, per_sample, targets_of
from .predictions import counted_predictions


def perplexity(loss: float) -> float:
    """``exp(loss)`` of a loss in nats per token; infinity where that overflows."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


class Perplexity(SampleMeasure):
    """The perplexity: e to the power of the mean negative log-probability of the targets.

    Args:
        ignore_index: the target that does not count.
        targets: finds the targets (...,) of a batch; outputs are logits (..., V).
    """

    kind = "perplexity"

    def __init__(self, *, ignore_index: int = IGNORED, targets: Targets = targets_of) -> None:
        self.ignore_index, self.targets = ignore_index, targets

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The nats and the counted targets of each sample: (B, 2).

        Raises:
            DataError: if a target is no class.
            NonFiniteError: if a row of logits holds NaN or +inf, or bans every class.
        """
        found, sample, samples = counted_predictions(outputs, self.targets(batch), self.ignore_index)
        nats = np.bincount(sample, -found.log_probability, samples)
        return as_rows(nats, np.bincount(sample, minlength=samples))

    def value(self, sums: Array) -> dict[str, float]:
        """The perplexity."""
        return {"": perplexity(sums[0] / sums[1])} if sums[1] else {}


class BitsPerByte(Perplexity):
    """The negative log-probability of the targets in bits, per byte of the text that they stand for.

    It compares models with different tokenizers.

    Args:
        lengths: (V,) the bytes of each token: ``[len(text) for text in bytes_of_tokens(tokenizer)]``.
        ignore_index: the target that does not count.
        targets: finds the targets (...,) of a batch; outputs are logits (..., V).
    """

    kind = "bits_per_byte"

    def __init__(self, lengths: Sequence[int], *, ignore_index: int = IGNORED, targets: Targets = targets_of) -> None:
        super().__init__(ignore_index=ignore_index, targets=targets)
        self.lengths = np.asarray(lengths, np.int64)

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The nats and the bytes of each sample: (B, 2).

        Raises:
            DataError: if a target is no token with a length.
            NonFiniteError: see the base class.
        """
        targets = to_numpy(self.targets(batch))
        counts = counted(targets, self.ignore_index, len(self.lengths))
        return as_rows(super().rows(outputs, batch)[:, 0], per_sample(self.lengths[targets * counts] * counts))

    def value(self, sums: Array) -> dict[str, float]:
        """Bits per byte."""
        return ratio(bits(sums[0]), sums[1])

    def settings(self) -> dict[str, Any]:
        """See the base class; the lengths are in the rows already."""
        return {"lengths": []}
