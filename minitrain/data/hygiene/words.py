"""Texts made comparable: normalised Unicode, and words.

Two texts that a reader takes for the same should be the same here: letters are compared by NFKC and without case, and
white space by its being there. Scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) have a word for
each character.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from hashlib import blake2b

_WITHOUT_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_MOST_MARKS = 30
"""Marks on one letter, as in the Stream-Safe Text Format of Unicode (UAX #15). No real text has more."""


def without_long_marks(text: str) -> str:
    """``text`` with a separator after each 30 marks in a row.

    Python sorts the marks of a letter in a time that grows with the square of their number when it normalises.
    """
    return _long_marks().sub("\\g<0>\u034f", text)


def comparable(text: str) -> str:
    """``text`` by NFKC and case-folded."""
    folded = unicodedata.normalize("NFKC", without_long_marks(text)).casefold()
    return unicodedata.normalize("NFKC", folded)


def normalised(text: str) -> str:
    """``text`` as exact duplicates are compared: NFKC, case-folded, each white space one space, none at the ends."""
    return " ".join(comparable(text).split())


def words(text: str) -> list[str]:
    """The words of ``text``, comparable; signs between them are left out.

    Examples:
        >>> words("Ｒock-’n’-Roll, ROLL!")
        ['rock', 'n', 'roll', 'roll']
    """
    found: list[str] = _word().findall(comparable(text))
    return found


def ngrams(parts: list[str], size: int) -> Iterator[str]:
    """The runs of ``size`` words, each joined by spaces; none if there are fewer words."""
    return (" ".join(parts[start : start + size]) for start in range(len(parts) - size + 1))


def number_of(text: str) -> int:
    """A number from 0 to 2^63 - 1 that stands for ``text``: the same in every process, unlike ``hash``."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@functools.cache
def _word() -> re.Pattern[str]:
    """A letter or digit with what belongs to its word; in a script without spaces, with its marks."""
    marks = _ranges(code for code in _beyond_latin() if unicodedata.category(chr(code))[0] == "M")
    letter = f"[^\\W_{_WITHOUT_SPACES}]"
    return re.compile(f"[{_WITHOUT_SPACES}][{marks}]*|{letter}(?:{letter}|[{marks}])*")


@functools.cache
def _long_marks() -> re.Pattern[str]:
    """30 characters that are nothing but marks when they are taken apart, with another one after them."""
    marks = _ranges(
        code for code in _beyond_latin() if all(map(unicodedata.combining, unicodedata.normalize("NFKD", chr(code))))
    )
    return re.compile(f"[{marks}]{{{_MOST_MARKS}}}(?=[{marks}])")


def _beyond_latin() -> Iterable[int]:
    """Where marks are: from the first combining one to the end of the second plane, and variation selectors."""
    return (*range(0x300, 0xD800), *range(0xE000, 0x20000), *range(0xE0100, 0xE01F0))


def _ranges(codes: Iterable[int]) -> str:
    """Characters as they stand in brackets of a pattern."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in spans)
