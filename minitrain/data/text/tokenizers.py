"""From text to token ids and back: one id per character, one per byte, or byte pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, nearest
from ..ids import checked_ids, utf8
from .bpe import BPETokenizer, train_bpe_tokenizer
from .pretrained import PretrainedTokenizer
from .sentencepiece import SentencePieceTokenizer
from .symbols import SymbolTokenizer

TOKENIZERS = ("char", "byte", "bpe")
"""The names `build_tokenizer` knows."""


class Tokenizer(Protocol):
    """The interface of every tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids; ids run from 0 to ``vocab_size - 1``."""
        ...

    def encode(self, text: str) -> NDArray[np.int32]:
        """Token ids of ``text``, shape ``(N,)``."""
        ...

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of ``ids``, any one-dimensional sequence of integers."""
        ...

    def token_bytes(self) -> list[bytes] | None:
        """The bytes that each id stands for, so that text can be shown as it is written.

        ``decode`` joins them and reads them as UTF-8, with U+FFFD for what is none. A special token stands for no
        byte. ``None`` if ``decode`` does something else.
        """
        ...

    def to_json(self) -> dict[str, Any]:
        """A description that JSON can hold; `tokenizer_from_json` rebuilds the tokenizer from it."""
        ...


class CharTokenizer:
    """One id per Unicode character, in the order of their code points.

    Attributes:
        characters: the vocabulary; the id of a character is its index here.

    Examples:
        >>> tokenizer = CharTokenizer.from_text("hello")
        >>> tokenizer.characters, tokenizer.encode("hole").tolist(), tokenizer.decode([1, 0])
        ('ehlo', [1, 3, 2, 0], 'he')
    """

    def __init__(self, characters: str) -> None:
        """Take ``characters``, sorted and without repetition, as the vocabulary.

        Raises:
            DataError: if there are none, or they are not sorted, or one appears twice.
        """
        code_points = _code_points(characters)
        if not characters or np.any(code_points[1:] <= code_points[:-1]):
            raise DataError("a character vocabulary needs at least one character, sorted and without repetition")
        self.characters = characters
        self._code_points = code_points
        # Indexed by code point; the last entry is for every code point above the vocabulary's highest.
        self._ids = np.full(int(code_points[-1]) + 2, -1, dtype=np.int32)
        self._ids[code_points] = np.arange(code_points.size, dtype=np.int32)

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """The tokenizer whose vocabulary is the set of characters of ``text``.

        Raises:
            DataError: if ``text`` is empty.
        """
        if not text:
            raise DataError("cannot build a character vocabulary from an empty text: give some text")
        present = np.zeros(0x110000, dtype=np.bool_)  # one flag per code point: much faster than sorting the text
        present[_code_points(text)] = True
        return cls(_text(np.flatnonzero(present)))

    @property
    def vocab_size(self) -> int:
        """Number of characters in the vocabulary."""
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Token ids of ``text``, int32 ``(N,)``, one for each character.

        Raises:
            DataError: if a character is not in the vocabulary; the message names the first one and its position.
        """
        code_points = _code_points(text)
        ids = self._ids[np.minimum(code_points, self._ids.size - 1)]
        if ids.size and ids.min() < 0:
            position = int(np.argmax(ids < 0))
            raise DataError(
                f"the character {text[position]!r} (U+{code_points[position]:04X}, position {position}) is "
                f"not among the {self.vocab_size} characters of this vocabulary: leave it out, "
                "or train with data.tokenizer=byte, which takes any text"
            )
        return ids

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of ``ids``.

        Raises:
            TokenError: if an id is outside the vocabulary.
        """
        return _text(self._code_points[checked_ids(ids, self.vocab_size)])

    def token_bytes(self) -> list[bytes] | None:
        """The characters in UTF-8; ``None`` if one of them is half of a surrogate pair, which has no UTF-8."""
        try:
            return [character.encode() for character in self.characters]
        except UnicodeEncodeError:
            return None

    def to_json(self) -> dict[str, Any]:
        """The tokenizer's name and its characters."""
        return {"name": "char", "characters": self.characters}


class ByteTokenizer:
    """The 256 bytes of UTF-8: encodes any text, in any script, without a vocabulary of its own.

    A model may produce bytes that are not UTF-8; `decode` shows them as U+FFFD.
    """

    vocab_size = 256

    def encode(self, text: str) -> NDArray[np.int32]:
        """The bytes of ``text`` in UTF-8, int32 ``(N,)``.

        Raises:
            DataError: if ``text`` holds half of a surrogate pair, which UTF-8 cannot express.
        """
        return np.frombuffer(utf8(text), dtype=np.uint8).astype(np.int32)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of the bytes ``ids``; bytes that are not UTF-8 become U+FFFD.

        Raises:
            TokenError: if an id is not in 0 … 255.
        """
        return checked_ids(ids, self.vocab_size).astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def token_bytes(self) -> list[bytes]:
        """The 256 bytes."""
        return [bytes([byte]) for byte in range(256)]

    def to_json(self) -> dict[str, Any]:
        """The tokenizer's name, which is all it needs."""
        return {"name": "byte"}


def build_tokenizer(name: str, text: str, *, vocab_size: int = 1024) -> Tokenizer:
    """The tokenizer called ``name``, one of `TOKENIZERS`, fitted to ``text`` if it has a vocabulary to fit.

    Args:
        name: the name of the tokenizer.
        text: the text to fit it to.
        vocab_size: largest number of ids of a BPE vocabulary; the others do not use it.

    Raises:
        ConfigError: if there is no tokenizer with that name (the message suggests the nearest one), or ``vocab_size``
            is too small for BPE.
        DataError: if ``text`` is empty and the tokenizer needs it.
    """
    if name == "char":
        return CharTokenizer.from_text(text)
    if name == "byte":
        return ByteTokenizer()
    if name == "bpe":
        return train_bpe_tokenizer([text], vocab_size=vocab_size)
    near = nearest(name, TOKENIZERS)
    hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(TOKENIZERS)}"
    raise ConfigError(f"there is no tokenizer {name!r}: {hint}")


def tokenizer_from_json(description: object) -> Tokenizer:
    """The tokenizer whose ``to_json()`` returned ``description``.

    Raises:
        DataError: if ``description`` is not one.
    """
    match description:
        case {"name": "char", "characters": str(characters)}:
            return CharTokenizer(characters)
        case {"name": "byte"}:
            return ByteTokenizer()
        case {"name": "bpe"}:
            return BPETokenizer.from_json(description)
        case {"name": "pretrained"}:
            return PretrainedTokenizer.from_json(description)
        case {"name": "symbols"}:
            return SymbolTokenizer.from_json(description)
        case {"name": "sentencepiece"}:
            return SentencePieceTokenizer.from_json(description)
    raise DataError(
        "this is not the description of a tokenizer: it needs a name, "
        f"one of {', '.join(TOKENIZERS)}, symbols, pretrained or sentencepiece, and for char the string of its "
        "characters"
    )


def _code_points(text: str) -> NDArray[np.uint32]:
    """Unicode code points of ``text``, uint32 ``(N,)``, which is its UTF-32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint32, copy=False)


def _text(code_points: NDArray[Any]) -> str:
    """The inverse of `_code_points`."""
    return code_points.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")
