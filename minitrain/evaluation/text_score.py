"""How well a model predicts a text, in one pass over it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..data.tokens.baselines import bits
from ..data.tokens.token_array import TokenArray
from ..errors import DataError
from ..generation.text.detokenize import encode_prompt
from ..measures import Calibration, perplexity
from ..measures.predictions import Predictions
from .predictions import LOGITS_AT_ONCE, head_runs_alone, predict
from .sizes import TextSize, size_after_first, size_of_text, size_of_tokens
from .windows import Window, windows

TOKENS_AT_ONCE = 8192
"""Tokens of all windows that the model runs on at once."""
NEAR = 5


class TextScore:
    """The sums of a model's predictions of a text.

    Args:
        stride: the tokens that a window scored.
        bins: see `Calibration`.
        size: of the text that was scored; ``None`` if it is unknown.

    Attributes:
        tokens: how many tokens were scored.
        nats: the sum of their negative log-probabilities.
        hits: how often the most likely token came.
        near_hits: how often one of the five most likely tokens came.
        calibration: the confidence of the predictions, and how often they were right.
    """

    def __init__(self, stride: int, bins: int = 15, size: TextSize | None = None) -> None:
        self.stride, self.size, self.calibration = stride, size, Calibration(bins)
        self.tokens = self.hits = self.near_hits = 0
        self.nats = 0.0

    def add(self, found: Predictions) -> None:
        """Add the predictions of more tokens."""
        self.tokens += len(found.rank)
        self.nats -= float(found.log_probability.sum())
        self.hits += int(found.hit.sum())
        self.near_hits += int((found.rank < NEAR).sum())
        self.calibration.add(found.confidence, found.hit)

    @property
    def nats_per_token(self) -> float:
        """The cross-entropy, in nats per token."""
        return self.nats / self.tokens

    @property
    def bits_per_token(self) -> float:
        """The cross-entropy, in bits per token."""
        return bits(self.nats_per_token)

    @property
    def bits_per_byte(self) -> float | None:
        """The cross-entropy, in bits per byte of the text's UTF-8; ``None`` if they are unknown."""
        return bits(self.nats) / self.size.bytes if self.size and self.size.bytes else None

    @property
    def bits_per_character(self) -> float | None:
        """The cross-entropy, in bits per character; ``None`` if they are unknown."""
        return bits(self.nats) / self.size.characters if self.size and self.size.characters else None

    @property
    def perplexity(self) -> float:
        """The exponential of the nats per token; infinity where that overflows."""
        return perplexity(self.nats_per_token)

    @property
    def accuracy(self) -> float:
        """How often the most likely token came, from 0 to 1."""
        return self.hits / self.tokens

    @property
    def near_accuracy(self) -> float:
        """How often one of the five most likely tokens came, from 0 to 1."""
        return self.near_hits / self.tokens


def score_text(
    model: Any, tokenizer: Any, text: str, *, stride: int | None = None, bins: int = 15, device: str = "cpu"
) -> TextScore:
    """Score a model's predictions of a text.

    Every token is scored once, in windows that overlap; see `minitrain.evaluation.windows`. A begin token is put before
    the text if the tokenizer does so. Otherwise the first token of the text is not scored, and its bytes do not count.

    Args:
        model: the model; runs without dropout. With `with_weights(model, "int8")`, the score shows what smaller weights
            cost.
        tokenizer: has ``encode``; its tokens are the model's.
        text: any text.
        stride: tokens that a window scores, from 1 to ``block_size``. By default half of ``block_size``.
        bins: of the calibration.
        device: the model's device.

    Raises:
        ConfigError: if the stride is out of range.
        DataError: if the text has no token to predict, or the tokenizer does not know one of its characters.
        NonFiniteError: if the model's logits are NaN.
        TokenError: if a token is outside the model's vocabulary.

    Example:
        ```python
        score = score_text(model, tokenizer, "To be, or not to be", stride=8)
        print(score.perplexity, score.bits_per_byte, score.accuracy, score.calibration.expected_error)
        ```
    """
    tokens = np.asarray(encode_prompt(tokenizer, text), np.int32)
    score = score_tokens(model, tokens, stride=stride, bins=bins, device=device)
    first = int(tokens[0])
    if first == getattr(tokenizer, "begin_id", None):
        score.size = size_of_text(text)
    else:
        score.size = size_after_first(tokenizer, text, first)
    return score


def score_tokens(
    model: Any,
    tokens: TokenArray,
    *,
    tokenizer: Any = None,
    stride: int | None = None,
    bins: int = 15,
    device: str = "cpu",
) -> TextScore:
    """Score a model's predictions of all tokens but the first; see `score_text`.

    Tokens are read window by window, so they may lie in a file.

    Args:
        model: the model; runs without dropout.
        tokens: (N,) token ids, N >= 2.
        tokenizer: tells how much text the tokens stand for; ``None`` leaves bits per byte and character unknown.
        stride: tokens that a window scores.
        bins: of the calibration.
        device: the model's device.

    Raises:
        MinitrainError: see `score_text`.
    """
    longest: int = model.config.block_size
    stride = default_stride(longest) if stride is None else stride
    if tokens.ndim != 1 or tokens.size < 2:
        raise DataError(f"there are {tokens.shape} tokens to score, expected (N,) with 2 or more: give a longer text")
    size = None if tokenizer is None else size_of_tokens(tokenizer, tokens[1:])
    score = TextScore(stride, bins, size)
    for found in _predictions(model, tokens, windows(tokens.size, longest, stride), device):
        score.add(found)
    return score


def default_stride(longest: int) -> int:
    """The stride where none is given: half of what the model sees."""
    return max(1, longest // 2)


def _predictions(model: Any, tokens: TokenArray, found: Iterator[Window], device: str) -> Iterator[Predictions]:
    """The predictions of all scored tokens in order, in parts."""
    for length, same in groupby(found, key=lambda window: window.end - window.start):
        most = TOKENS_AT_ONCE // length
        if not head_runs_alone(model):  # its forward returns all logits
            most = min(most, LOGITS_AT_ONCE // (length * model.config.vocab_size))
        while batch := list(islice(same, max(1, most))):
            parts: Array = np.stack([np.asarray(tokens[w.start : w.end + 1], np.int32) for w in batch])  # (B, T + 1)
            yield from predict(model, parts, [w.scored for w in batch], device)
