r"""A long text in bounded pieces, cut where a tokenizer does not notice.

A *safe border* lies before a space or a line break that follows something visible: ``the| cat|\nsat``. There,
byte-level BPE begins a new word anyway (its words are what the pattern of GPT-2 finds, see `bpe`), no UTF-8
character is torn, and no ``\r\n``. So the tokens of the pieces, joined, are the tokens of the whole text.

A run longer than a piece without such a border is cut between two characters. Characters and bytes do not
notice that either; BPE may get one more token there than in one go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

PIECE_BYTES = 1 << 20
"""How long a piece is, unless told."""

# A space or a line break, not after white space or a control character. The white space of Unicode is written
# out in UTF-8. Greedy: the last such place counts.
_LAST_SAFE_BORDER = re.compile(
    rb"(?s:.*)"
    rb"(?<![\x00-\x20\x7f])(?<!\xc2[\x80-\xa0])(?<!\xe1\x9a\x80)(?<!\xe2\x80[\x80-\x8f\xa8-\xaf])"
    rb"(?<!\xe2\x81\x9f)(?<!\xe3\x80\x80)"
    rb"(?=[ \n])"
)
_LONGEST_CHARACTER = 4  # bytes, in UTF-8


def read_pieces(file: BinaryIO, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """The bytes of ``file`` from its position on, in pieces of at most ``size``.

    Where a piece ends depends on where it begins and on ``size`` alone, so that reading can be taken up at any
    border. Bytes that are not UTF-8 pass through.

    Args:
        file: open for reading bytes.
        size: bytes of a piece, at least 8: a character and a line break must fit.

    Yields:
        Pieces; joined, they are the file.
    """
    rest = b""
    while block := file.read(size - len(rest)):
        data = rest + block
        if len(data) < size:  # all of the file, or a pipe that gives less at a time
            rest = data
            continue
        border = _safe_border(data)
        yield data[:border]
        rest = data[border:]
    if rest:
        yield rest


def _safe_border(data: bytes) -> int:
    """The last safe border of ``data`` behind its beginning; else the last border between two characters."""
    match = _LAST_SAFE_BORDER.match(data)
    if match is not None and match.end() > 0:
        return match.end()
    for border in range(len(data) - 1, len(data) - 1 - _LONGEST_CHARACTER, -1):
        begins_character = data[border] & 0xC0 != 0x80  # 10xxxxxx goes on with one
        if begins_character and data[border - 1] != ord("\r"):
            return border
    return len(data)  # not UTF-8
