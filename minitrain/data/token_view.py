"""The pieces that a tokenizer makes of a text, in colors and with their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..display.markup import MONO, QUIET, Html, block, element, joined, quiet, shown
from .ids import checked_ids
from .text.tokenizers import Tokenizer

MOST = 1000  # tokens that are shown
COLORS = ("59,130,196", "61,153,112", "201,138,27", "123,75,148", "0,140,160", "209,73,91")
"""Backgrounds of neighbouring pieces, as red, green, blue."""
VISIBLE = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
PIECE = f"display:inline-block;text-align:center;margin:.1em .12em;padding:0 .25em;border-radius:.3em;{MONO}"


class Piece(NamedTuple):
    """A token and what it stands for."""

    id: int
    text: str  # readable: spaces and line breaks can be seen
    kind: str  # "text", "bytes" for a part of a character, "special" for no text


class TokenView:
    """A text as its tokens. A notebook shows each piece in a color with its id below; printed, it is a line.

    Spaces are ``·``, line breaks ``↵`` and tabs ``→``. Bytes that are only a part of a character are in hexadecimal,
    with a dashed frame. A special token has its name and a solid frame.

    Args:
        tokenizer: any tokenizer.
        text: the text, or ids.

    Attributes:
        pieces: one for each token.

    Raises:
        DataError: if the tokenizer cannot encode the text.
        TokenError: if an id is outside the vocabulary.

    Example:
        >>> from minitrain.data import BPETokenizer
        >>> print(TokenView(BPETokenizer([("t", "h"), ("th", "e")]), "the é"))
        the|·|C3|A9
    """

    def __init__(self, tokenizer: Tokenizer, text: str | Sequence[int] | NDArray[Any]) -> None:
        ids = tokenizer.encode(text) if isinstance(text, str) else checked_ids(text, tokenizer.vocab_size)
        self.pieces = tuple(_pieces(tokenizer, np.asarray(ids).tolist()))

    def __str__(self) -> str:
        return "|".join(piece.text for piece in self.pieces)

    def __repr__(self) -> str:
        return f"<TokenView of {len(self.pieces)} tokens>"

    @shown
    def _repr_html_(self) -> str:
        made = [_piece(piece, COLORS[i % len(COLORS)]) for i, piece in enumerate(self.pieces[:MOST])]
        more = len(self.pieces) - MOST
        count = quiet(f"{len(self.pieces):,} tokens" + (f", the first {MOST:,} of them shown" if more > 0 else ""))
        return block(element("div", joined(made), style="line-height:1.25"), element("div", count))


def _pieces(tokenizer: Any, ids: Sequence[int]) -> Iterator[Piece]:
    written = tokenizer.token_bytes()
    names = getattr(tokenizer, "special_tokens", ())  # a list by id, or ids by name
    special = {number: name for name, number in names.items()} if isinstance(names, dict) else dict(enumerate(names))
    for number in ids:
        content = tokenizer.decode([number]).encode() if written is None else written[number]
        if not content:
            yield Piece(number, special.get(number, "(nothing)"), "special")
            continue
        try:
            yield Piece(number, "".join(VISIBLE.get(letter, letter) for letter in content.decode()), "text")
        except UnicodeDecodeError:
            yield Piece(number, content.hex(" ").upper(), "bytes")


def _piece(piece: Piece, color: str) -> Html:
    frame = {"text": "1px solid transparent", "bytes": "1px dashed currentColor", "special": "1px solid currentColor"}
    style = f"{PIECE};border:{frame[piece.kind]};background:rgba({color},.28)"
    number = element("span", str(piece.id), style=f"display:block;font-size:.75em;{QUIET}")
    return element("span", element("bdi", piece.text, style="white-space:pre"), number, style=style)
