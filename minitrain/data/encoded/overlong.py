"""Texts with more tokens than a model reads: cut, left out, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, printable
from ..records.broken import BrokenRecordError
from ..text.tokenizers import Tokenizer

OVERLONG = ("truncate", "skip", "refuse")


class SkippedError(Exception):
    """Raised for an overlong text that is to be left out."""


class TextEncoder:
    """Turns the texts of one column into token ids of a limited number.

    Attributes:
        column: the column.
        tokenizer: turns its texts into ids.
        max_tokens: the limit; ``None`` if there is none.
        overlong: ``"truncate"`` cuts a longer text at its end, ``"skip"`` leaves its record out, ``"refuse"`` raises
            an error.
    """

    def __init__(self, column: str, tokenizer: Tokenizer, max_tokens: int | None, overlong: str) -> None:
        """Set the limit.

        Raises:
            ConfigError: if a setting is not one.
        """
        if overlong not in OVERLONG:
            raise ConfigError(f"overlong={overlong!r} must be one of {', '.join(map(repr, OVERLONG))}")
        if max_tokens is not None and max_tokens < 1:
            raise ConfigError(f"the limit of {column!r} is {max_tokens} tokens, and must be at least 1")
        self.column, self.tokenizer, self.max_tokens, self.overlong = column, tokenizer, max_tokens, overlong

    def encode(self, text: str) -> NDArray[np.int32]:
        """The ids of a text, int32 ``(N,)``, at most ``max_tokens``."""
        return self.tokenizer.encode(text)[: self.max_tokens]

    def check(self, value: Any, place: str) -> tuple[int, bool]:
        """Look at a value of the column: a text, or a list of them.

        Returns:
            The number of tokens of the longest text, at most ``max_tokens``, and whether one is cut.

        Raises:
            BrokenRecordError: if it is none, or a text has no tokens.
            SkippedError: if the record is to be left out.
            DataError: if it is too long and refused.
        """
        texts = texts_in(value)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise BrokenRecordError(f"column {self.column!r} is empty or no text")
        try:
            counts = [len(self.tokenizer.encode(text)) for text in texts]
        except DataError as error:
            raise BrokenRecordError(f"column {self.column!r} cannot be encoded: {error}") from error
        if not all(counts):
            raise BrokenRecordError(f"column {self.column!r} is empty")
        most = max(counts)
        if self.max_tokens is None or most <= self.max_tokens:
            return most, False
        if self.overlong == "refuse":
            raise DataError(
                f"{printable(place)}: column {self.column!r} has {most} tokens, more than {self.max_tokens}: raise the "
                'limit, or pass overlong="truncate" or "skip"'
            )
        if self.overlong == "skip":
            raise SkippedError
        return self.max_tokens, True


def texts_in(value: Any) -> list[Any]:
    """A text or a list of texts as a list."""
    return value if isinstance(value, list) else [value]
