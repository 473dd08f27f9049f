"""Ways in which an answer gets to where it should not be: no curve shows them, and a short trial does."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array, check_array, to_numpy
from ..errors import ConfigError, DataError, ShapeError


def future_leak(model: Any, tokens: Array, *, classes: int | None = None) -> float:
    """By how much outputs change when tokens after them change: 0 for a causal model.

    Later tokens are replaced from three places on, and the outputs before each place are compared. A model that is
    trained to predict the next token and sees it has a fine loss, in validation too, and cannot write.

    Args:
        model: ``forward(tokens) -> (outputs, cache)``, with outputs (B, T, ...).
        tokens: (B, T) integers, T at least 2.
        classes: number of tokens there are; ``model.config.vocab_size`` by default.

    Returns:
        The largest absolute change.

    Raises:
        ConfigError: if the number of tokens is not known, or is 1.
        ShapeError: if the tokens have another shape.
    """
    check_array("future_leak: tokens", tokens)
    if tokens.ndim != 2 or tokens.shape[1] < 2 or tokens.dtype.kind not in "iu":
        raise ShapeError(
            f"future_leak: tokens are {tokens.dtype} {tokens.shape}, expected integers (B, T), T at least 2"
        )
    kinds = getattr(getattr(model, "config", None), "vocab_size", None) if classes is None else classes
    if kinds is None or kinds < 2:
        raise ConfigError(
            f"future_leak: there are {kinds} tokens to choose from; give classes=, the size of the vocabulary"
        )
    before, T = model.forward(tokens)[0], tokens.shape[1]
    largest = 0.0
    for place in sorted({1, T // 2, T - 1}):
        changed = tokens.copy()
        changed[:, place:] = (changed[:, place:] + 1) % kinds
        change = abs(model.forward(changed)[0] - before)[:, :place]
        largest = max(largest, float(change.max()))
    return largest


def shared_samples(train: Any, held_out: Any) -> Array:
    """Which samples of the held-out data are among the training data, bit by bit.

    A validation loss on such samples measures memory. Samples that are nearly equal are not found.

    Args:
        train: (N, ...) array.
        held_out: (M, ...) array, with samples of the same shape and dtype.

    Returns:
        Their places in ``held_out``, int64.

    Raises:
        DataError: if the samples of the two differ in shape or dtype.
    """
    known, asked = np.asarray(to_numpy(train)), np.asarray(to_numpy(held_out))
    if known.shape[1:] != asked.shape[1:] or known.dtype != asked.dtype or 0 in (known.ndim, asked.ndim):
        raise DataError(
            f"shared_samples: samples of train are {known.dtype} {known.shape[1:]}, of held_out {asked.dtype} "
            f"{asked.shape[1:]}; give arrays of samples that are stored alike"
        )
    seen = {sample.tobytes() for sample in known}
    return np.array([i for i, sample in enumerate(asked) if sample.tobytes() in seen], np.int64)
