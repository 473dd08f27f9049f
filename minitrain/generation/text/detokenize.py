"""Text from tokens, one by one: what a token completes can be shown at once, and no character is ever split.

A token of byte-level BPE may end within a character of UTF-8. Its bytes wait, three at most, until the character is
complete or cannot become one. The pieces, joined, are what ``decode`` makes of all the tokens.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import TokenError

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Turns the tokens of one sequence into text as they come.

    With a tokenizer that tells the bytes of its tokens (``token_bytes``), a token takes constant time. Any other one
    decodes all tokens again each time; its text is held back while it ends with U+FFFD, as it may be half a character.

    Args:
        tokenizer: has ``decode(tokens)``, and perhaps ``token_bytes()``, see `minitrain.data.Tokenizer`.
        after: the tokens before the first one, such as a prompt. Their text is not returned, but it decides how the
            text goes on: whether a character is half written, and whether the first word begins with a space.

    Examples:
        >>> from minitrain.data import ByteTokenizer
        >>> detokenizer = Detokenizer(ByteTokenizer())
        >>> [detokenizer.add(byte) for byte in "é!".encode()]
        ['', 'é', '!']
    """

    def __init__(self, tokenizer: Any, *, after: Iterable[int] = ()) -> None:
        self._bytes = bytes_of_tokens(tokenizer)
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = bool(getattr(tokenizer, "strips_space", False))  # until something was written
        if self._bytes is None:
            # All tokens, and how many characters of their text were returned.
            self._tokens = [int(token) for token in after]
            self._released = len(self._text().rstrip(_REPLACEMENT))
        else:
            self._add_bytes(b"".join([self._bytes_of(token) for token in after]))

    def add(self, token: int) -> str:
        """The text that ``token`` completes; empty if a character has only begun.

        Raises:
            TokenError: if the token is outside the vocabulary.
        """
        if self._bytes is not None:
            return self._add_bytes(self._bytes_of(token))
        self._tokens.append(int(token))
        return self._release(self._text().rstrip(_REPLACEMENT))

    def finish(self) -> str:
        """The rest of the text: U+FFFD for a character that was never completed."""
        if self._bytes is None:
            return self._release(self._text())
        return self._decoder.decode(b"", final=True)

    def _bytes_of(self, token: int) -> bytes:
        assert self._bytes is not None
        if not 0 <= token < len(self._bytes):
            raise TokenError(
                f"token id {token} is outside the vocabulary of {len(self._bytes)} ids: it comes from another tokenizer"
            )
        return self._bytes[token]

    def _add_bytes(self, new: bytes) -> str:
        if self._strip and new:
            self._strip, new = False, new.removeprefix(b" ")
        return self._decoder.decode(new)

    def _text(self) -> str:
        return str(self._tokenizer.decode(np.array(self._tokens, np.int32)))

    def _release(self, text: str) -> str:
        piece, self._released = text[self._released :], max(self._released, len(text))
        return piece


def detokenizer_of(tokenizer: Any) -> Callable[[Iterable[int]], Callable[[int], str]]:
    """The detokenizers of an `Engine`: for the tokens of a prompt, the function `Detokenizer.add` after it."""
    known = _Known(tokenizer)  # the bytes of a large vocabulary are made once
    return lambda prompt: Detokenizer(known, after=prompt).add


def bytes_of_tokens(tokenizer: Any) -> Sequence[bytes] | None:
    """The bytes of each token; ``None`` if the tokenizer does not tell, or ``decode`` does not simply join them."""
    find = getattr(tokenizer, "token_bytes", None)
    return None if find is None else find()


def unused_tokens(model: Any, tokenizer: Any) -> range:
    """Ids that a model, or that of a session, has and its tokenizer does not: without text, so none may be written.

    Published models have some: their tables are padded to a size that is fast.
    """
    rows = getattr(getattr(getattr(model, "model", model), "config", None), "vocab_size", 0)
    return range(getattr(tokenizer, "vocab_size", rows), rows)


def encode_prompt(tokenizer: Any, text: str) -> Any:
    """Token ids (n,) of a text that a model is to continue, with a begin token if the tokenizer puts one there."""
    return getattr(tokenizer, "encode_prompt", tokenizer.encode)(text)


class _Known:
    """A tokenizer whose bytes are known."""

    def __init__(self, tokenizer: Any) -> None:
        self._bytes, self.decode = bytes_of_tokens(tokenizer), tokenizer.decode
        self.strips_space = bool(getattr(tokenizer, "strips_space", False))

    def token_bytes(self) -> Sequence[bytes] | None:
        return self._bytes


def text_pieces(tokens: Iterable[int], tokenizer: Any, *, after: Iterable[int] = ()) -> Iterator[str]:
    """The text of ``tokens`` as they come, one piece for each token that completes a character.

    The pieces, joined, are ``tokenizer.decode`` of all the tokens. Leaving the loop ends ``tokens`` too.

    Args:
        tokens: token ids, such as those of `stream`.
        tokenizer: see `Detokenizer`.
        after: the tokens before the first one.

    Yields:
        Pieces of at least one character.
    """
    detokenizer = Detokenizer(tokenizer, after=after)
    for token in tokens:
        if piece := detokenizer.add(token):
            yield piece
    if piece := detokenizer.finish():
        yield piece
