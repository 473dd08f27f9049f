"""The loss of a model on a text, and what it is worth next to guessing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend.arrays import to_device
from ..data import Batch, Tokenizer, bits, evaluation_batches, uniform_nats, unigram_nats
from ..ops.loss import Loss


def evaluate(
    model: Any,
    tokens: NDArray[Any],
    block_size: int,
    batch_size: int,
    *,
    max_batches: int | None = None,
    device: str = "cpu",
) -> Loss:
    """Loss of ``model`` on ``tokens`` in windows side by side, without dropout.

    Args:
        model: has ``loss(batch) -> (Loss, cache)``.
        tokens: ``(N,)`` token ids, N >= 2; each but the first is predicted once.
        block_size: tokens in a window.
        batch_size: windows in a batch.
        max_batches: take only this many full batches, spread evenly over the text; ``None`` takes it all.
        device: where the model is.

    Returns:
        The summed loss in nats and the number of predicted tokens, as Python floats.

    Raises:
        DataError: if there are fewer than two tokens.
    """
    total = count = 0.0
    for batch in _spread_batches(tokens, block_size, batch_size, max_batches):
        loss, _ = model.loss(Batch(*(to_device(array, device) for array in batch)))
        total += float(loss.total)
        count += float(loss.count)
    return Loss(total, count)


def _spread_batches(tokens: NDArray[Any], block_size: int, batch_size: int, max_batches: int | None) -> Iterator[Batch]:
    """All evaluation batches, or ``max_batches`` stretches of the text that fill one batch each."""
    span = block_size * batch_size
    if max_batches is None or max_batches * span >= tokens.shape[0] - 1:
        return evaluation_batches(tokens, block_size, batch_size)
    starts = np.linspace(0, tokens.shape[0] - 1 - span, max_batches).astype(np.int64)
    stretches = (tokens[start : start + span + 1] for start in starts)
    return chain.from_iterable(evaluation_batches(part, block_size, batch_size) for part in stretches)


@dataclass(frozen=True)
class Validation:
    """The loss on the held-out text, next to what guessing costs.

    Attributes:
        loss: mean loss in nats per token.
        tokens: how many tokens were predicted.
        bits_per_character: the same loss in bits per character of text; without a tokenizer, per token.
        tokens_per_character: 1 for a character tokenizer.
        baselines: nats per token of guessing, by name.
    """

    loss: float
    tokens: int
    bits_per_character: float
    tokens_per_character: float
    baselines: dict[str, float]

    def describe(self) -> str:
        """A few lines for the screen."""
        lines = [f"{f'validation, {self.tokens:,} tokens':<30}{'nats/token':>12}{'bits/character':>17}"]
        for name, nats in {"this model": self.loss, **self.baselines}.items():
            lines.append(f"  {name:<28}{nats:>12.4f}{bits(nats) * self.tokens_per_character:>17.4f}")
        return "\n".join(lines)


def baselines(train_tokens: NDArray[Any], val_tokens: NDArray[Any], vocab_size: int) -> dict[str, float]:
    """Nats per token of guessing: by the frequencies of the training text, and evenly among the vocabulary.

    Args:
        train_tokens: ``(N,)`` ids the frequencies are counted from.
        val_tokens: ``(M,)`` held-out ids, M >= 2.
        vocab_size: number of token ids.
    """
    return {
        "unigram frequencies": unigram_nats(train_tokens, val_tokens, vocab_size),
        "uniform guess": uniform_nats(vocab_size),
    }


def compare_with_guessing(
    loss: Loss, train_tokens: NDArray[Any], val_tokens: NDArray[Any], vocab_size: int, tokenizer: Tokenizer | None
) -> Validation:
    """Put the loss of a model on all of ``val_tokens`` next to the baselines.

    Args:
        loss: of the model, from `evaluate`.
        train_tokens: ``(N,)`` ids the unigram frequencies are counted from.
        val_tokens: ``(M,)`` held-out ids, M >= 2.
        vocab_size: number of token ids.
        tokenizer: tells how many characters the held-out text has; ``None`` counts tokens as characters.
    """
    characters = len(tokenizer.decode(val_tokens)) if tokenizer else val_tokens.shape[0]
    tokens_per_character = val_tokens.shape[0] / max(1, characters)
    return Validation(
        loss=loss.mean,
        tokens=int(loss.count),
        bits_per_character=bits(loss.mean) * tokens_per_character,
        tokens_per_character=tokens_per_character,
        baselines=baselines(train_tokens, val_tokens, vocab_size),
    )
