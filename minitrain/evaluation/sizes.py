"""How much text tokens stand for: losses per byte and per character compare models with different tokenizers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..data.tokens.baselines import CHUNK
from ..data.tokens.token_array import TokenArray
from ..generation.text.detokenize import bytes_of_tokens


class TextSize(NamedTuple):
    """The length of a text.

    Attributes:
        bytes: of its UTF-8.
        characters: its code points.
    """

    bytes: int
    characters: int


def size_of_text(text: str) -> TextSize:
    """The size of a text."""
    return TextSize(len(text.encode("utf-8", "surrogatepass")), len(text))


def size_of_tokens(tokenizer: Any, tokens: TokenArray) -> TextSize | None:
    """The size of the text that tokens (N,) stand for, counted in chunks.

    A character counts where its first byte is. ``None`` if the tokenizer does not tell the bytes of its tokens.
    """
    texts = bytes_of_tokens(tokenizer)
    if texts is None:
        return None
    counts = np.zeros(len(texts), np.int64)
    for start in range(0, tokens.size, CHUNK):
        counts += np.bincount(tokens[start : start + CHUNK], minlength=len(texts))
    lengths = np.array([len(text) for text in texts])
    characters = np.array([_characters(text) for text in texts])
    return TextSize(int(counts @ lengths), int(counts @ characters))


def size_after_first(tokenizer: Any, text: str, first: int) -> TextSize:
    """The size of a text without its first token, for which there was nothing to predict it from."""
    whole, texts = size_of_text(text), bytes_of_tokens(tokenizer)
    begun = size_of_text(str(tokenizer.decode([first])))
    if texts is not None:
        written = texts[first]
        if getattr(tokenizer, "strips_space", False):  # the tokenizer put that space there
            written = written.removeprefix(b" ")
        begun = TextSize(len(written), _characters(written))
    return TextSize(max(0, whole.bytes - begun.bytes), max(0, whole.characters - begun.characters))


def _characters(text: bytes) -> int:
    """How many characters begin in a part of UTF-8: all bytes but 10xxxxxx begin one."""
    return sum(byte & 0xC0 != 0x80 for byte in text)
