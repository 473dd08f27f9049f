"""The loss of a model on a text, and what it is worth next to guessing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from ...data import Batch, Tokenizer, bits, evaluation_batches, uniform_nats, unigram_nats
from ...data.tokens.baselines import CHUNK
from ...data.tokens.token_array import TokenArray
from ...measures import SampleTable
from ...training.evaluator import LOSS, Evaluator
from ..task import Outcome
from .tokens import TokenSplit


class TokenWindows:
    """A held-out text in windows side by side: every token but the first is predicted once.

    Args:
        tokens: ``(N,)`` token ids, N >= 2.
        block_size: tokens in a window.
        batch_size: windows in a batch.

    Raises:
        DataError: if there are fewer than two tokens.
    """

    def __init__(self, tokens: TokenArray, block_size: int, batch_size: int) -> None:
        evaluation_batches(tokens, block_size, batch_size)  # checks its arguments, reads nothing
        self.tokens, self.block_size, self.batch_size = tokens, block_size, batch_size

    def __iter__(self) -> Iterator[Batch]:
        return evaluation_batches(self.tokens, self.block_size, self.batch_size)

    def spread(self, count: int) -> Iterator[Batch]:
        """``count`` full batches, spread evenly over the text; all of it if it has no more than that."""
        span = self.block_size * self.batch_size
        last = self.tokens.shape[0] - 1 - span
        if count * span >= self.tokens.shape[0] - 1:
            return iter(self)
        stretches = (self.tokens[start : start + span + 1] for start in np.linspace(0, last, count).astype(np.int64))
        return chain.from_iterable(evaluation_batches(part, self.block_size, self.batch_size) for part in stretches)


def evaluate(
    model: Any,
    tokens: TokenArray,
    block_size: int,
    batch_size: int,
    *,
    max_batches: int | None = None,
    device: str = "cpu",
    precision: str | None = None,
) -> dict[str, float]:
    """Loss of ``model`` on ``tokens`` in windows side by side, without dropout.

    Args:
        model: has ``loss(batch) -> (Loss, cache)``.
        tokens: ``(N,)`` token ids, N >= 2; each but the first is predicted once.
        block_size: tokens in a window.
        batch_size: windows in a batch.
        max_batches: take only this many full batches, spread evenly over the text; ``None`` takes it all.
        device: the model's device.
        precision: of the products, see `minitrain.backend.precision`; ``None`` for that in force.

    Returns:
        ``val_loss``, the mean in nats per token, and ``val_tokens``.

    Raises:
        DataError: if there are fewer than two tokens.
    """
    data = TokenWindows(tokens, block_size, batch_size)
    return Evaluator(model, data, device=device, precision=precision).run(max_batches)


def evaluate_windows(
    model: Any,
    tokens: TokenArray,
    block_size: int,
    batch_size: int,
    *,
    device: str = "cpu",
    precision: str | None = None,
) -> SampleTable:
    """The loss in each window of ``block_size`` tokens, side by side; see `evaluate` for the arguments and errors."""
    data = TokenWindows(tokens, block_size, batch_size)
    name = f"{tokens.shape[0]} tokens in windows of {block_size}, sha256 {digest(tokens)}"
    return Evaluator(model, data, device=device, precision=precision).samples(data=name)


def digest(tokens: TokenArray) -> str:
    """The SHA-256 of token ids ``(N,)`` as int32, to tell a text from others."""
    sha = hashlib.sha256()
    for start in range(0, tokens.shape[0], CHUNK):
        sha.update(np.ascontiguousarray(tokens[start : start + CHUNK], np.int32).tobytes())
    return sha.hexdigest()


def loss_of(table: SampleTable) -> dict[str, float]:
    """The result of `evaluate`, from the table of `evaluate_windows`."""
    return {"val_loss": table.values()[LOSS], "val_tokens": int(table.rows[LOSS][:, 1].sum())}


@dataclass(frozen=True)
class Validation(Outcome):
    """The loss on the held-out text, next to what guessing costs.

    Attributes:
        loss: mean loss in nats per token.
        tokens: how many tokens were predicted.
        bits_per_character: the same loss in bits per character of text; without a tokenizer, per token.
        tokens_per_character: 1 for a character tokenizer.
        baselines: nats per token of guessing, by name.
        averaged_by: see `Outcome`.
        samples: the loss in each window, where it was kept.
    """

    tokens: int
    bits_per_character: float
    tokens_per_character: float
    baselines: dict[str, float]

    def describe(self) -> str:
        """A few lines for the screen."""
        lines = [f"{f'validation, {self.tokens:,} tokens':<30}{'nats/token':>12}{'bits/character':>17}"]
        model = f"this model ({self.averaged_by} weights)" if self.averaged_by else "this model"
        for name, nats in {model: self.loss, **self.baselines}.items():
            lines.append(f"  {name:<28}{nats:>12.4f}{bits(nats) * self.tokens_per_character:>17.4f}")
        return "\n".join(lines)


def baselines(train_tokens: TokenArray, val_tokens: TokenArray, vocab_size: int) -> dict[str, float]:
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
    measured: Mapping[str, float],
    train_tokens: TokenArray,
    val_tokens: TokenArray,
    vocab_size: int,
    tokenizer: Tokenizer | None,
) -> Validation:
    """Put the loss of a model on all of ``val_tokens`` next to the baselines.

    Args:
        measured: the loss of the model, from `evaluate`.
        train_tokens: ``(N,)`` ids the unigram frequencies are counted from.
        val_tokens: ``(M,)`` held-out ids, M >= 2.
        vocab_size: number of token ids.
        tokenizer: tells how many characters the held-out text has; ``None`` counts tokens as characters.
    """
    counted = val_tokens[:CHUNK]  # of a very long text, a part tells
    characters = len(tokenizer.decode(counted)) if tokenizer else counted.shape[0]
    tokens_per_character = counted.shape[0] / max(1, characters)
    return Validation(
        loss=measured["val_loss"],
        tokens=int(measured["val_tokens"]),
        bits_per_character=bits(measured["val_loss"]) * tokens_per_character,
        tokens_per_character=tokens_per_character,
        baselines=baselines(train_tokens, val_tokens, vocab_size),
    )


def outcome_on_windows(
    model: Any,
    tokens: TokenSplit,
    tokenizer: Tokenizer,
    block_size: int,
    batch_size: int,
    *,
    device: str = "cpu",
    precision: str | None = None,
) -> Validation:
    """Evaluate a model on all of the held-out tokens, keep the loss in each window, and compare it with guessing.

    Arguments and errors are those of `evaluate`.
    """
    table = evaluate_windows(model, tokens.val, block_size, batch_size, device=device, precision=precision)
    found = compare_with_guessing(loss_of(table), tokens.train, tokens.val, tokenizer.vocab_size, tokenizer)
    return replace(found, samples=table)
