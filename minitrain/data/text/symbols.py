"""One id for each symbol, with the special tokens that pairs of sequences need: for letters, phonemes, words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError
from ..ids import checked_ids, utf8
from .bpe import SPECIAL_TOKENS

SEPARATORS = ("", " ")


class SymbolTokenizer:
    """One id for each symbol of a text; the first ids are padding, beginning, end and unknown, as in `BPETokenizer`.

    Attributes:
        symbols: the symbols in the order of their ids, which begin after the special tokens.
        separator: ``""`` for characters, ``" "`` for words, such as phonemes.

    Examples:
        >>> phonemes = SymbolTokenizer.from_texts(["K AE T", "AE T"], separator=" ")
        >>> phonemes.symbols, phonemes.encode("T AE").tolist(), phonemes.decode([6, 4])
        (('AE', 'K', 'T'), [6, 4], 'T AE')
    """

    special_tokens = SPECIAL_TOKENS

    def __init__(self, symbols: Sequence[str], *, separator: str = "") -> None:
        """Give ids to ``symbols``.

        Raises:
            ConfigError: if the separator is another one.
            DataError: if there are no symbols, one appears twice, or one cannot stand in a text.
        """
        if separator not in SEPARATORS:
            raise ConfigError(f"separator={separator!r} must be '' for characters or ' ' for words")
        self.symbols, self.separator = tuple(symbols), separator
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols, len(SPECIAL_TOKENS))}
        if not self.symbols or len(self._ids) < len(self.symbols):
            raise DataError("a vocabulary of symbols needs at least one, and each of them once")
        for symbol in self.symbols:
            utf8(symbol)
            if self._split(symbol) != [symbol]:
                raise DataError(f"{symbol!r} cannot be a symbol of texts with separator={separator!r}")

    @classmethod
    def from_texts(cls, texts: Iterable[str], *, separator: str = "") -> SymbolTokenizer:
        """The tokenizer of all symbols in ``texts``, sorted.

        Raises:
            ConfigError: if the separator is another one.
            DataError: if the texts have no symbols.
        """
        found: set[str] = set()
        for text in texts:
            found.update(text if separator == "" else text.split())
        return cls(sorted(found), separator=separator)

    @property
    def vocab_size(self) -> int:
        """Number of ids, including special ones."""
        return len(SPECIAL_TOKENS) + len(self.symbols)

    def special_id(self, name: str) -> int:
        """The id of the special token ``name``.

        Raises:
            DataError: if there is none with that name.
        """
        if name not in SPECIAL_TOKENS:
            raise DataError(f"there is no special token {name!r}: there are {', '.join(SPECIAL_TOKENS)}")
        return SPECIAL_TOKENS.index(name)

    def encode(self, text: str) -> NDArray[np.int32]:
        """Token ids of ``text``, int32 ``(N,)``; none of them is special.

        Raises:
            DataError: if a symbol is not in the vocabulary; the message names it.
        """
        symbols = self._split(text)
        try:
            return np.array([self._ids[symbol] for symbol in symbols], dtype=np.int32)
        except KeyError as error:
            raise DataError(
                f"{error.args[0]!r} in the text {text!r:.60} is not among the {len(self.symbols)} symbols of this "
                "vocabulary: leave it out, or build the vocabulary from texts that have it"
            ) from None

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of ``ids``; special tokens have none.

        Raises:
            TokenError: if an id is outside the vocabulary.
        """
        first = len(SPECIAL_TOKENS)
        numbers = checked_ids(ids, self.vocab_size).tolist()
        return self.separator.join(self.symbols[number - first] for number in numbers if number >= first)

    def token_bytes(self) -> list[bytes] | None:
        """The bytes of each id, none for a special token; ``None`` for words, which ``decode`` puts spaces between."""
        if self.separator:
            return None
        return [b""] * len(SPECIAL_TOKENS) + [symbol.encode() for symbol in self.symbols]

    def to_json(self) -> dict[str, Any]:
        """The symbols and the separator."""
        return {"name": "symbols", "symbols": list(self.symbols), "separator": self.separator}

    @classmethod
    def from_json(cls, description: object) -> SymbolTokenizer:
        """The tokenizer whose ``to_json()`` returned ``description``.

        Raises:
            DataError: if it is not one.
        """
        match description:
            case {"name": "symbols", "symbols": [*symbols], "separator": str(separator)} if separator in SEPARATORS:
                if all(isinstance(symbol, str) for symbol in symbols):
                    return cls(symbols, separator=separator)
        raise DataError("this is not the description of a tokenizer of symbols: it needs symbols and a separator")

    def _split(self, text: str) -> list[str]:
        return text.split() if self.separator else list(text)
