"""Texts that look like no prose: the rules of Gopher.

Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (2021, arXiv:2112.11446),
section A1.1. Its rule of two English stop words is left out. So are the rules of C4 (Raffel et al., 2019,
arXiv:1910.10683), such as a full stop at the end of each line: they suit English web pages alone. Words are what stands
between white space, so the rules about words do not suit scripts without spaces.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

from ...errors import ConfigError
from .filters import Finding
from .words import ngrams

_BULLETS = ("-", "*", "•", "‣", "▪", "–")
_SYMBOL = re.compile(r"#|…|\.\.\.")
_TOP_NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
"""Size of n-grams -> the largest share of characters in the most frequent one."""
_REPEATED_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""Size of n-grams -> the largest share of characters in those that came before."""


@dataclass(frozen=True)
class Quality:
    """Finds texts that break one of Gopher's rules, each a limit that can be changed.

    Attributes:
        min_words: fewest words.
        max_words: most words.
        min_word_length: smallest mean length of a word, in characters.
        max_word_length: largest mean length of a word.
        min_letters: smallest share of words with a letter in them.
        max_symbols: most ``#`` and ellipses for each word.
        max_bullets: largest share of lines that begin with a bullet.
        max_ellipses: largest share of lines that end with an ellipsis.
        max_repeated_lines: largest share of lines that came before.
        max_repeated_line_letters: largest share of characters in such lines.
        max_repeated_ngrams: a factor for the limits of repeated n-grams. They are 0.20, 0.18 and 0.16 for the most
            frequent 2-, 3- and 4-gram, and 0.15 to 0.10 for all repeated 5- to 10-grams.

    Raises:
        ConfigError: if a limit is negative.
    """

    min_words: float = 50
    max_words: float = 100_000
    min_word_length: float = 3
    max_word_length: float = 10
    min_letters: float = 0.8
    max_symbols: float = 0.1
    max_bullets: float = 0.9
    max_ellipses: float = 0.3
    max_repeated_lines: float = 0.3
    max_repeated_line_letters: float = 0.2
    max_repeated_ngrams: float = 1.0

    reason = "quality"

    def __post_init__(self) -> None:
        for one in fields(self):
            if not getattr(self, one.name) >= 0:
                raise ConfigError(f"{one.name}={getattr(self, one.name)} must be at least 0")

    def __call__(self, text: str) -> Finding | None:
        """The first rule that the text breaks, with its value and the limit."""
        for rule, value, low, high in self._measured(text):
            if not low <= value <= high:
                return Finding(rule, {"value": round(value, 4), "limit": low if value < low else high})
        return None

    def _measured(self, text: str) -> Iterator[_Measured]:
        """The values, cheap ones first: what comes later may rely on the limits before."""
        parts = text.split()
        count, letters = len(parts), sum(map(len, parts))
        yield _Measured("words", count, self.min_words, self.max_words)
        yield _Measured("word length", _share(letters, count), self.min_word_length, self.max_word_length)
        with_letter = sum(any(map(str.isalpha, part)) for part in parts)
        yield _Measured("words with letters", _share(with_letter, count), low=self.min_letters)
        yield _Measured("symbols", _share(len(_SYMBOL.findall(text)), count), high=self.max_symbols)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        yield _Measured("lines with bullets", _share_of(lines, _begins_with_bullet), high=self.max_bullets)
        yield _Measured("lines with ellipses", _share_of(lines, _ends_with_ellipsis), high=self.max_ellipses)
        repeats = list((Counter(lines) - Counter(set(lines))).elements())
        yield _Measured("repeated lines", _share(len(repeats), len(lines)), high=self.max_repeated_lines)
        repeated, all_of_them = sum(map(len, repeats)), sum(map(len, lines))
        yield _Measured("letters in repeated lines", _share(repeated, all_of_them), high=self.max_repeated_line_letters)
        for size, limit in _TOP_NGRAMS.items():
            share = _share(_letters_of_the_most_frequent(parts, size), letters)
            yield _Measured(f"most frequent {size}-gram", share, high=limit * self.max_repeated_ngrams)
        for size, limit in _REPEATED_NGRAMS.items():
            share = _share(_letters_of_repeated(parts, size), letters)
            yield _Measured(f"repeated {size}-grams", share, high=limit * self.max_repeated_ngrams)


class _Measured(NamedTuple):
    rule: str
    value: float
    low: float = 0.0
    high: float = float("inf")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _share_of(lines: list[str], has: Callable[[str], bool]) -> float:
    return _share(sum(map(has, lines)), len(lines))


def _begins_with_bullet(line: str) -> bool:
    return line.startswith(_BULLETS)


def _ends_with_ellipsis(line: str) -> bool:
    return line.endswith(("…", "..."))


def _letters_of_the_most_frequent(parts: list[str], size: int) -> int:
    """Characters in all places of the n-gram that covers most; 0 if each comes once."""
    counts = Counter(ngrams(parts, size))
    return max((times * (len(gram) - size + 1) for gram, times in counts.items() if times > 1), default=0)


def _letters_of_repeated(parts: list[str], size: int) -> int:
    """Characters in n-grams that came before, each place counted once."""
    seen: set[str] = set()
    found = behind = 0  # behind: the first word after the last repeat
    for start, gram in enumerate(ngrams(parts, size)):
        if start < behind:
            continue
        if gram in seen:
            found += len(gram) - size + 1
            behind = start + size
        seen.add(gram)
    return found
