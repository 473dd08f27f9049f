"""SentencePiece's BPE, the tokenizer of Llama 2 and Mistral: characters are joined by the score of what they make.

Each space becomes ``▁``, and one is put in front of the text. Then, of all adjacent pairs that make a piece of the
vocabulary, the one whose piece has the highest score is joined, the leftmost of equals, until none is left. Characters
that are not in the vocabulary become the bytes of UTF-8 (Kudo and Richardson, 2018, "SentencePiece", arXiv:1808.06226).

A list of merges, as in byte-level BPE, cannot say the same exactly: which pair comes first depends on where in the text
it is. So this is SentencePiece's own rule, and its ids. It takes some microseconds for a character.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, TokenError
from ..ids import checked_ids, utf8
from .pretrained_checks import LARGEST_VOCABULARY
from .roles import RoleTokens, checked_template

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of tokens, as in SentencePiece's models and GGUF files."""


class SentencePieceTokenizer(RoleTokens):
    """SentencePiece's BPE with byte fallback; `RoleTokens` describes its attributes.

    Args:
        tokens: the pieces; the index of each is its id.
        scores: of each piece, as finite numbers.
        types: of each piece, from `NORMAL` to `BYTE`.
        space_prefix: whether a space is put in front of a text.
        adds_begin: whether ``frame`` puts the begin token before a text.
        adds_end: whether it puts the end token after it.
        begin: id of the token that a text begins with.
        end: ids of the tokens that end a text.
        pad: id of the token for padding.
        chat_template: a Jinja template.

    Raises:
        DataError: if the lists do not fit together, there is not one token for each byte, or an id is out of range.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        scores: Sequence[float],
        types: Sequence[int],
        *,
        space_prefix: bool = True,
        adds_begin: bool = True,
        adds_end: bool = False,
        begin: int | None = None,
        end: Sequence[int] = (),
        pad: int | None = None,
        chat_template: str | None = None,
    ) -> None:
        _check_lists(tokens, scores, types)
        self.tokens, self.scores, self.types = list(tokens), [float(score) for score in scores], list(types)
        self.space_prefix, self.adds_begin, self.adds_end = space_prefix, adds_begin, adds_end
        for number in (begin, pad, *end):
            if number is not None and (type(number) is not int or not 0 <= number < len(self.tokens)):
                raise DataError(f"{str(number)[:40]} is not an id of the {len(self.tokens)} tokens: it is damaged")
        self.begin_id, self.end_ids, self.pad_id = begin, tuple(dict.fromkeys(end)), pad
        self.chat_template, self.strips_space = checked_template(chat_template), space_prefix
        of_type = [[n for n, kind in enumerate(self.types) if kind == wanted] for wanted in range(BYTE + 1)]
        special = of_type[UNKNOWN] + of_type[CONTROL]
        self.special_tokens = {self.tokens[number]: number for number in special}
        # What pairs may make. Of pieces that are there twice, the first counts.
        joined = of_type[NORMAL] + of_type[USER_DEFINED] + of_type[UNUSED]
        self._pieces = {self.tokens[number]: number for number in sorted(joined, reverse=True)}
        self._unused = set(of_type[UNUSED])
        self._byte_ids = _byte_ids(self.tokens, of_type[BYTE])
        bytes_of = {number: byte for byte, number in enumerate(self._byte_ids)}
        self._bytes = [text.replace(SPACE, " ").encode() for text in self.tokens]
        for number in special:
            self._bytes[number] = b""
        for number, byte in bytes_of.items():
            self._bytes[number] = bytes([byte])
        self._defined = {self.tokens[number].replace(" ", SPACE): number for number in of_type[USER_DEFINED]}
        self._user_defined = _any_of(list(self._defined))
        self._special = _any_of(list(self.special_tokens))

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return len(self.tokens)

    def encode(self, text: str, *, specials: bool = False, frame: bool = False) -> NDArray[np.int32]:
        """See `RoleTokens`. With ``specials``, each text between two special tokens is one by itself."""
        utf8(text)
        ids: list[int] = [self.begin_id] if frame and self.adds_begin and self.begin_id is not None else []
        parts = self._special.split(text) if specials and self._special is not None else [text]
        for number, part in enumerate(parts):
            if number % 2:
                ids.append(self.special_tokens[part])
            elif part:
                ids += self._encode(part)
        if frame and self.adds_end and self.end_ids:
            ids.append(self.end_ids[0])
        return np.array(ids, np.int32)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of ``ids``. Special tokens have no text, and bytes that are not UTF-8 become U+FFFD.

        Raises:
            TokenError: if an id is outside the vocabulary.
        """
        joined = b"".join([self._bytes[number] for number in checked_ids(ids, self.vocab_size).tolist()])
        return (joined.removeprefix(b" ") if self.strips_space else joined).decode("utf-8", "replace")

    def token_bytes(self) -> list[bytes]:
        """The bytes of each id; none for a special token."""
        return list(self._bytes)

    def token_name(self, number: int) -> str:
        """The piece with this id.

        Raises:
            TokenError: if it is outside the vocabulary.
        """
        if not 0 <= number < self.vocab_size:
            raise TokenError(f"there is no token {number} among the {self.vocab_size} ids of this tokenizer")
        return self.tokens[number]

    def to_json(self) -> dict[str, Any]:
        """The arguments of the class."""
        return {
            "name": "sentencepiece",
            "tokens": self.tokens,
            "scores": self.scores,
            "types": self.types,
            "flags": [self.space_prefix, self.adds_begin, self.adds_end],
            "begin": self.begin_id,
            "end": list(self.end_ids),
            "pad": self.pad_id,
            "chat_template": self.chat_template,
        }

    @classmethod
    def from_json(cls, description: object) -> SentencePieceTokenizer:
        """The tokenizer whose ``to_json()`` returned ``description``.

        Raises:
            DataError: if it is not such a description.
        """
        match description:
            case {
                "name": "sentencepiece",
                "tokens": list(tokens),
                "scores": list(scores),
                "types": list(types),
                "flags": [bool(space_prefix), bool(adds_begin), bool(adds_end)],
                "begin": begin,
                "end": list(end),
                "pad": pad,
                "chat_template": template,
            }:
                flags = {"space_prefix": space_prefix, "adds_begin": adds_begin, "adds_end": adds_end}
                return cls(tokens, scores, types, **flags, begin=begin, end=end, pad=pad, chat_template=template)
        raise DataError("this is not the description of a SentencePiece tokenizer: load the GGUF file again")

    def _encode(self, text: str) -> Iterator[int]:
        """The ids of a text without special tokens."""
        text = (SPACE if self.space_prefix else "") + text.replace(" ", SPACE)
        parts = [text] if self._user_defined is None else self._user_defined.split(text)
        for number, part in enumerate(parts):
            if number % 2:
                yield self._defined[part]
            elif part:
                yield from self._joined(part)

    def _joined(self, text: str) -> Iterator[int]:
        """The ids of a text after all pairs are joined."""
        pieces, scores = self._pieces, self.scores
        symbols = list(text)  # an empty one has been joined to one before
        before, after = list(range(-1, len(symbols) - 1)), [*range(1, len(symbols)), -1]
        halves: dict[str, tuple[str, str]] = {}  # of unused pieces
        heap: list[tuple[float, int, int, str]] = []  # (-score, left, right, piece)

        def add(left: int, right: int) -> None:
            if left < 0 or right < 0:
                return
            piece = symbols[left] + symbols[right]
            if (number := pieces.get(piece)) is not None:
                heapq.heappush(heap, (-scores[number], left, right, piece))
                if number in self._unused:
                    halves[piece] = (symbols[left], symbols[right])

        for left in range(len(symbols) - 1):
            add(left, left + 1)
        while heap:
            _, left, right, piece = heapq.heappop(heap)
            if not symbols[left] or not symbols[right] or len(symbols[left]) + len(symbols[right]) != len(piece):
                continue  # one of them was joined to another
            symbols[left], symbols[right] = piece, ""
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
            add(before[left], left)
            add(left, after[left])
        waiting = [symbol for symbol in reversed(symbols) if symbol]
        while waiting:
            symbol = waiting.pop()
            number = pieces.get(symbol)
            if number in self._unused and symbol in halves:
                left_half, right_half = halves[symbol]
                waiting += [right_half, left_half]
            elif number is not None:
                yield number
            else:
                yield from [self._byte_ids[byte] for byte in symbol.encode()]


def _check_lists(tokens: Sequence[object], scores: Sequence[object], types: Sequence[object]) -> None:
    if not 0 < len(tokens) <= LARGEST_VOCABULARY or not len(tokens) == len(scores) == len(types):
        raise DataError(
            f"there are {len(tokens)} tokens, {len(scores)} scores and {len(types)} types; each token needs one of "
            f"both, and there may be {LARGEST_VOCABULARY:,}: the file is damaged"
        )
    for number, (token, score, kind) in enumerate(zip(tokens, scores, types, strict=True)):
        good_score = isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
        if not isinstance(token, str) or not token or not good_score or type(kind) is not int or not 1 <= kind <= BYTE:
            raise DataError(
                f"token {number} is {str(token)[:40]!r} with score {str(score)[:40]} and type {str(kind)[:40]}; a "
                f"token is a text with a finite score and a type from 1 to {BYTE}: the file is damaged"
            )
        utf8(token)


def _byte_ids(tokens: Sequence[str], numbers: Sequence[int]) -> list[int]:
    """The id of each byte.

    Raises:
        DataError: if one is missing: some texts could not be encoded.
    """
    known = {tokens[number].upper(): number for number in numbers}
    ids = [known.get(f"<0X{byte:02X}>", -1) for byte in range(256)]
    if -1 in ids:
        raise DataError(
            f"this SentencePiece vocabulary has no token for the byte 0x{ids.index(-1):02X}, so that characters "
            "would be lost: minitrain cannot use it"
        )
    return ids


def _any_of(texts: list[str]) -> re.Pattern[str] | None:
    """A pattern that splits a text at any of these, the longest first."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, ordered))})") if ordered else None
