r"""A long text in bounded pieces, cut where that does not change the tokens.

A *safe border* is before a space or a line break that follows something visible: ``the| cat|\nsat``. There,
byte-level BPE begins a new word anyway (its words are matches of GPT-2's pattern, see `bpe`), and no UTF-8
character or ``\r\n`` is split. So the tokens of the pieces, joined, are the tokens of the whole text.

A run longer than a piece without such a border is cut between two characters. Character and byte tokens do not
change there either; BPE may get one more token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

PIECE_BYTES = 1 << 20
"""Default length of a piece."""

# A space or a line break, not after white space or a control character. The white space of Unicode is written
# out in UTF-8. The pattern is greedy: it finds the last such place.
_LAST_SAFE_BORDER = re.compile(
    rb"(?s:.*)"
    rb"(?<![\x00-\x20\x7f])(?<!\xc2[\x80-\xa0])(?<!\xe1\x9a\x80)(?<!\xe2\x80[\x80-\x8f\xa8-\xaf])"
    rb"(?<!\xe2\x81\x9f)(?<!\xe3\x80\x80)"
    rb"(?=[ \n])"
)
_LONGEST_CHARACTER = 4  # bytes, in UTF-8


def read_pieces(file: BinaryIO, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """The bytes of ``file`` from its position on, in pieces of at most ``size``.

    The end of a piece depends only on its beginning and ``size``, so that reading can resume at any border. Bytes
    that are not UTF-8 pass through.

    Args:
        file: open for reading bytes.
        size: bytes of a piece, at least 8, so that a character and a line break fit.

    Yields:
        Pieces; joined, they are the file.
    """
    rest = b""
    while block := file.read(size - len(rest)):
        data = rest + block
        if len(data) < size:  # the rest of the file, or a pipe that returns less at a time
            rest = data
            continue
        border = _safe_border(data)
        yield data[:border]
        rest = data[border:]
    if rest:
        yield rest


def _safe_border(data: bytes) -> int:
    """The last safe border of ``data`` after its beginning; else the last border between two characters."""
    match = _LAST_SAFE_BORDER.match(data)
    if match is not None and match.end() > 0:
        return match.end()
    for border in range(len(data) - 1, len(data) - 1 - _LONGEST_CHARACTER, -1):
        begins_character = data[border] & 0xC0 != 0x80  # 10xxxxxx continues one
        if begins_character and data[border - 1] != ord("\r"):
            return border
    return len(data)  # not UTF-8
