"""A letter for each byte, so that tokens of byte-level BPE can be written as text."""

from __future__ import annotations

import itertools
from functools import cache


@cache
def byte_letters() -> tuple[str, ...]:
    """A letter for each byte, as GPT-2 chose them, so that pieces of bytes can be written as text.

    Bytes that are printable in Latin-1 are themselves; the others, in order, are the letters from U+0100 on.
    """
    printed = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0x100)} - {0xAD}
    others = itertools.count(0x100)
    return tuple(chr(byte) if byte in printed else chr(next(others)) for byte in range(256))
