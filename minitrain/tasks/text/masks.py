"""Masks in texts: what a user writes, what a model fills in, and what a text is worth if each token is hidden alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backend.arrays import to_device, to_numpy
from ...data import Tokenizer
from ...data.tokens.masked import MaskedWindows
from ...errors import DataError
from ...measures import perplexity

MASK = "[MASK]"
"""The mask token in a text."""


def encode_masked(tokenizer: Tokenizer, text: str, longest: int) -> NDArray[np.int32]:
    """The token ids (T,) of a text with ``[MASK]`` in it.

    Raises:
        DataError: if it has no mask, the tokenizer does not know one of its characters, or it is too long.
    """
    pieces = text.split(MASK)
    if len(pieces) == 1:
        raise DataError(f"there is no {MASK} in the text: write it where the model is to find a token")
    mask = np.array([tokenizer.vocab_size], np.int32)
    parts: list[NDArray[np.int32]] = []
    for piece in pieces:
        parts += [tokenizer.encode(piece) if piece else mask[:0], mask]
    ids = np.concatenate(parts[:-1])
    if len(ids) > longest:
        raise DataError(f"the text has {len(ids)} tokens, and the model reads {longest} at most: shorten it")
    return ids


def fill_probabilities(model: Any, ids: NDArray[np.int32], vocab_size: int, device: str) -> NDArray[np.float64]:
    """The probabilities (masks, V) of the tokenizer's tokens at each mask of a text (T,)."""
    logits = to_numpy(model.forward(to_device(ids[None], device))[0])[0]  # (T, V + 1)
    return _softmax(logits[ids == vocab_size, :vocab_size])


def pseudo_perplexity(model: Any, windows: MaskedWindows, *, count: int = 8, device: str = "cpu") -> float | None:
    """The perplexity of tokens that are hidden one at a time (Salazar et al., 2020, arXiv:1910.14659).

    It needs a forward for each token, so it takes some windows, spread evenly over the text.

    Args:
        model: a `MaskedEncoder`.
        windows: the text.
        count: how many windows.
        device: the model's device.

    Returns:
        The perplexity; ``None`` if the text is shorter than a window.
    """
    T, mask, nats = windows.block_size, windows.vocab_size, []
    places = np.linspace(0, windows.full - 1, min(count, windows.full)).astype(int).tolist()
    for place in places:
        tokens = windows.windows(place, 1)[0]  # (T,)
        for first in range(0, T, windows.batch_size):
            hidden = np.arange(first, min(T, first + windows.batch_size))
            rows = np.tile(tokens, (len(hidden), 1))  # (rows, T)
            rows[np.arange(len(hidden)), hidden] = mask
            logits = to_numpy(model.forward(to_device(rows, device))[0])[np.arange(len(hidden)), hidden]
            shares = _softmax(logits)[np.arange(len(hidden)), tokens[hidden]]
            nats.append(-np.log(np.maximum(shares, np.finfo(np.float64).tiny)))
    return perplexity(float(np.concatenate(nats).mean())) if nats else None


def _softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    scores = logits.astype(np.float64)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def with_masks(tokenizer: Tokenizer, ids: NDArray[np.int32]) -> str:
    """The text of ids (T,) with ``[MASK]`` for masks."""
    borders = [-1, *np.flatnonzero(ids == tokenizer.vocab_size).tolist(), len(ids)]
    return MASK.join(tokenizer.decode(ids[before + 1 : after]) for before, after in pairwise(borders))
