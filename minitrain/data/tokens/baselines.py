"""Losses of baselines that need no training, for comparison with a model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .token_array import TokenArray

CHUNK = 1 << 24  # tokens counted at a time: bincount copies its input to 8 bytes each


def bits(nats: float) -> float:
    """``nats`` in bits; with one token per character these are bits per character."""
    return nats / math.log(2)


def uniform_nats(vocab_size: int) -> float:
    """Loss per token, in nats, of guessing uniformly among ``vocab_size`` tokens: ``ln V``.

    An untrained model starts at this loss.
    """
    return math.log(vocab_size)


def unigram_nats(train_tokens: TokenArray, val_tokens: TokenArray, vocab_size: int) -> float:
    """Loss per token, in nats, of guessing by the frequency of each token, regardless of the tokens before it.

    The frequencies are those of the training text with one added to every count (Laplace), so that a token that
    occurs only in the validation text does not have infinite loss. The average is over the validation tokens that a
    model predicts, all but the first.

    Args:
        train_tokens: ``(N,)`` ids below ``vocab_size``.
        val_tokens: ``(M,)`` ids below ``vocab_size``, M >= 2.
        vocab_size: V.
    """
    train = _counts(train_tokens, vocab_size) + 1  # (V,)
    val = _counts(val_tokens[1:], vocab_size)  # (V,)
    log_probability = np.log(train / train.sum())
    return float(-(val @ log_probability) / val.sum())


def _counts(tokens: TokenArray, vocab_size: int) -> NDArray[np.int64]:
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, tokens.shape[0], CHUNK):
        counts += np.bincount(tokens[start : start + CHUNK], minlength=vocab_size)
    return counts
