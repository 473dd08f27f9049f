"""Tokenizers that others trained: a ``tokenizer.json``, executed by the ``tokenizers`` library.

The ids are those of the library, or the file is refused. What a token stands for is read from the file's decoder, so
that text can be shown while it is written.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, TokenError, printable
from ..ids import checked_ids, utf8
from .byte_letters import byte_letters
from .pretrained_checks import INNER, LARGEST_FILE, checked_description
from .roles import RoleTokens, checked_template

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what SentencePiece writes for a space


class PretrainedTokenizer(RoleTokens):
    """A tokenizer in the format of Hugging Face's ``tokenizers``; `RoleTokens` describes its attributes."""

    def __init__(
        self,
        description: object,
        *,
        begin: str | None = None,
        end: Sequence[str] = (),
        pad: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        """Check a description and load it.

        Args:
            description: the parsed JSON of a ``tokenizer.json``. Its truncation and padding are left out.
            begin: the name of the token that a text begins with.
            end: names of the tokens that end a text.
            pad: the name of the token for padding.
            chat_template: a Jinja template.

        Raises:
            DataError: if it is damaged, hostile or unknown, or a name is not that of a token.
        """
        self._description = checked_description(description)
        self._library = _load(self._description)
        self._lock = threading.Lock()  # a setting of the library is changed for a call
        added = {token["id"]: token for token in self._description["added_tokens"]}
        for number, token in added.items():
            if (found := self._library.token_to_id(token["content"])) != number:
                raise DataError(
                    f"tokenizer.json gives the added token {token['content']!r} the id {number}, but by the order of "
                    f"its tokens it has the id {found}: the file contradicts itself"
                )
        ids = {**self._description["model"]["vocab"]}
        self._size: int = 1 + max([*ids.values(), *added])
        self.special_tokens: dict[str, int] = {
            t["content"]: number for number, t in sorted(added.items()) if t.get("special")
        }
        self.begin_id = None if begin is None else self._id(begin)
        self.end_ids = tuple(dict.fromkeys(self._id(name) for name in end))
        self.pad_id = None if pad is None else self._id(pad)
        self.chat_template = checked_template(chat_template)
        texts = dict.fromkeys(range(self._size), "") | {n: t for t, n in ids.items()}
        texts |= {number: token["content"] for number, token in added.items()}
        special = set(self.special_tokens.values())
        self._bytes, self.strips_space = _token_bytes(self._description["decoder"], texts, special)

    @property
    def vocab_size(self) -> int:
        """One more than the highest id. Some ids below may be unused; they stand for no text."""
        return self._size

    def encode(self, text: str, *, specials: bool = False, frame: bool = False) -> NDArray[np.int32]:
        """See `RoleTokens`.

        Raises:
            DataError: also if the patterns of the tokenizer cannot cope with the text.
        """
        utf8(text)
        with self._lock:
            self._library.encode_special_tokens = not specials
            try:
                encoding = self._library.encode(text, add_special_tokens=frame)
            except BaseException as error:
                _refuse_crash(error, "encode this text")
                if isinstance(error, Exception):
                    raise DataError(self._unknown(text)) from error
                raise
        return np.array(encoding.ids, dtype=np.int32)

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of ``ids``. Special tokens have no text, and bytes that are not UTF-8 become U+FFFD.

        Raises:
            TokenError: if an id is outside the vocabulary.
        """
        numbers = checked_ids(ids, self.vocab_size).tolist()
        if self._bytes is None:
            return str(self._library.decode(numbers, skip_special_tokens=True))
        joined = b"".join([self._bytes[number] for number in numbers])
        return (joined.removeprefix(b" ") if self.strips_space else joined).decode("utf-8", "replace")

    def token_bytes(self) -> list[bytes] | None:
        """The bytes of each id, none for special tokens; ``None`` if the decoder does not simply join tokens."""
        return None if self._bytes is None else list(self._bytes)

    def token_name(self, number: int) -> str:
        """The name of a token as the file writes it.

        Raises:
            TokenError: if the id is unused or outside the vocabulary.
        """
        name = self._library.id_to_token(number) if 0 <= number < self.vocab_size else None
        if name is None:
            raise TokenError(f"there is no token {number} among the {self.vocab_size} ids of this tokenizer")
        return str(name)

    def to_json(self) -> dict[str, Any]:
        """The description, and the roles of tokens; `from_json` and a run folder take it."""
        return {
            "name": "pretrained",
            "tokenizer": self._description,
            "begin": None if self.begin_id is None else self.token_name(self.begin_id),
            "end": [self.token_name(number) for number in self.end_ids],
            "pad": None if self.pad_id is None else self.token_name(self.pad_id),
            "chat_template": self.chat_template,
        }

    @classmethod
    def from_json(cls, description: object) -> PretrainedTokenizer:
        """The tokenizer whose ``to_json()`` returned ``description``.

        Raises:
            DataError: if it is not such a description.
        """
        match description:
            case {
                "name": "pretrained",
                "tokenizer": dict(tokenizer),
                "begin": str() | None as begin,
                "end": list(end),
                "pad": str() | None as pad,
                "chat_template": str() | None as template,
            } if all(isinstance(name, str) for name in end):
                return cls(tokenizer, begin=begin, end=end, pad=pad, chat_template=template)
        raise DataError(
            "this is not the description of a pretrained tokenizer, which has tokenizer, begin, end, pad and "
            "chat_template: load the tokenizer.json again"
        )

    def _unknown(self, text: str) -> str:
        """Why the library refuses a text: it has no token for a word of it, and none for unknown words."""
        step = self._library.pre_tokenizer
        words = [text] if step is None else [word for word, _ in step.pre_tokenize_str(text)]
        word = next((word for word in words if self._library.token_to_id(word) is None), text)
        return (
            f"{printable(repr(word))[:80]} is not among the {self.vocab_size} tokens of this vocabulary, which has no "
            "unknown token: leave it out"
        )

    def _id(self, name: str) -> int:
        number = self._library.token_to_id(name) if isinstance(name, str) else None
        if number is None:
            raise DataError(f"there is no token {printable(repr(name))[:80]} in the vocabulary: check its settings")
        return int(number)


def _load(description: Mapping[str, Any]) -> Any:
    """The library's tokenizer.

    Raises:
        DataError: if the library refuses it.
    """
    from tokenizers import Tokenizer

    content = json.dumps(description)
    if len(content) > 2 * LARGEST_FILE:
        raise DataError("tokenizer.json is too large: the tokens of known models have at most a few megabytes")
    try:
        return Tokenizer.from_str(content)
    except BaseException as error:
        _refuse_crash(error, "load this tokenizer.json")
        if isinstance(error, Exception):
            raise DataError(
                f"the tokenizers library cannot load this tokenizer.json: {printable(str(error))}"
            ) from error
        raise


def _refuse_crash(error: BaseException, what: str) -> None:
    """Raise a `DataError` for a panic of the library, which is not an `Exception` to Python."""
    if type(error).__name__ == "PanicException":
        reason = printable(str(error))[:200]
        raise DataError(f"the tokenizers library cannot {what} ({reason}): its patterns are damaged") from None


def _token_bytes(
    decoder: Mapping[str, Any] | None,
    texts: Mapping[int, str],
    special: set[int],
) -> tuple[list[bytes] | None, bool]:
    """The bytes of each id, and whether a first space is left out; ``None`` where a decoder does more than join."""
    names = [part["type"] for part in parts_of(decoder)]
    if names == ["Fuse"]:  # tokens as they are, without the spaces that no decoder at all puts between them
        return [b"" if n in special else texts[n].encode() for n in range(len(texts))], False
    if names == ["ByteLevel"]:
        letters = {letter: byte for byte, letter in enumerate(byte_letters())}

        def bytes_of(text: str) -> bytes:
            mapped = [letters.get(letter, -1) for letter in text]
            return text.encode() if -1 in mapped else bytes(mapped)

        return [b"" if n in special else bytes_of(texts[n]) for n in range(len(texts))], False
    if names[:3] == ["Replace", "ByteFallback", "Fuse"] and names[3:] in ([], ["Strip"]):
        parts = parts_of(decoder)
        replaces = parts[0] == {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
        if replaces and parts[3:] in ([], [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]):

            def bytes_of(text: str) -> bytes:
                if _BYTE_TOKEN.fullmatch(text):
                    return bytes([int(text[3:5], 16)])
                return text.replace(_SPACE, " ").encode()

            return [b"" if n in special else bytes_of(texts[n]) for n in range(len(texts))], len(parts) == 4
    return None, False


def parts_of(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The parts of a decoder, normalizer, pre-tokenizer or post-processor in their order, sequences opened."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        inner = next(part[name] for name in INNER if name in part)
        return [one for outer in inner for one in parts_of(outer)]
    return [part]
