"""Texts with a listed word or phrase."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ConfigError, DataError
from ...files import FileError, read_file
from .filters import Finding
from .words import ngrams, words

LARGEST_LIST = 64_000_000
_ONLY_WORDS = re.compile(r"[\w\s.'’·-]*")
"""Characters of an entry besides marks of letters: words are compared without signs, so 'c++' would match 'c'."""


@dataclass(frozen=True)
class Blocklist:
    """Finds texts with one of some words or phrases in them: whole words, in any case, in Unicode's normal form.

    Attributes:
        entries: how many there are.
        name: of the list, for reports. They name the line of an entry: it may itself be private.
    """

    entries: int
    name: str = "the list"
    _lines: dict[int, dict[str, int]] = field(default_factory=dict, repr=False)  # by number of words: phrase -> line

    reason = "blocklist"

    @classmethod
    def of(cls, phrases: Iterable[str], name: str = "the list") -> Blocklist:
        """A list of words and phrases; empty ones are left out.

        Raises:
            ConfigError: if there are none, or one has signs in it that are not compared.
        """
        lines: dict[int, dict[str, int]] = {}
        for number, phrase in enumerate(phrases, 1):
            if not phrase.strip():
                continue
            parts = words(phrase)
            if not parts or not _ONLY_WORDS.fullmatch("".join(filter(_is_no_mark, phrase))):
                raise ConfigError(
                    f"line {number} of {name} has signs that are no letters or digits: words are compared without "
                    "them, so it would match more than it says; take them out"
                )
            lines.setdefault(len(parts), {}).setdefault(" ".join(parts), number)
        if not lines:
            raise ConfigError(f"{name} has no words in it")
        return cls(sum(map(len, lines.values())), name, lines)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Blocklist:
        """The list in a text file, a word or phrase on each line.

        Raises:
            ConfigError: if it has no words, or a line has signs in it that are not compared.
            DataError: if it cannot be read.
        """
        file = Path(os.path.expanduser(path))
        try:
            text = read_file(file, LARGEST_LIST).decode("utf-8-sig")
        except FileError as error:
            raise DataError(str(error)) from error
        except OSError as error:
            raise DataError(f"cannot read {file}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not UTF-8 text: convert it") from error
        return cls.of(text.split("\n"), str(file))

    def __call__(self, text: str) -> Finding | None:
        """The entry of the list that comes first in it, if one is in the text."""
        parts = words(text)
        found = [
            number
            for size, phrases in self._lines.items()
            for phrase in ngrams(parts, size)
            if (number := phrases.get(phrase))
        ]
        return Finding(f"line {min(found)} of {self.name}", {"matches": len(found)}) if found else None


def _is_no_mark(character: str) -> bool:
    import unicodedata

    return unicodedata.category(character)[0] != "M"
