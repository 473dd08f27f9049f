"""Personal data replaced by placeholders."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError, did_you_mean
from .kinds import KINDS, PHONE_AT_HOME, Kind

_PERHAPS = re.compile(r"[\d@＠]|:[0-9A-Fa-f]{0,4}:")
"""A text may hold personal data only if it has one of these."""
_LONGEST_NUMBER = 64
"""Characters of the longest number with its separators."""
_GROUP_END = re.compile(r"(?<=[^\W_])(?=[\W_])")


@dataclass(frozen=True)
class PersonalData:
    """Replaces e-mail addresses, phone, card and account numbers, national numbers and IP addresses in texts.

    Attributes:
        kinds: which, of those in `KINDS`.
        phone_regions: countries, such as ``("US", "GB")``, whose phone numbers are found without ``+`` and the
            country too.

    Raises:
        ConfigError: if a kind or a region is unknown, or a package that finds it is not installed.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    phone_regions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.kinds:
            if name not in KINDS:
                raise ConfigError(
                    f"unknown kind of personal data {name!r}: {did_you_mean(name, KINDS)}there are {', '.join(KINDS)}"
                )
            KINDS[name].is_one("+0", ())  # what it needs is installed
        if self.phone_regions:
            import phonenumbers

            for region in self.phone_regions:
                if region not in phonenumbers.SUPPORTED_REGIONS:
                    raise ConfigError(f"phone region {region!r} must be a country of two capital letters, such as US")

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """``text`` with a placeholder for each piece of personal data, and how many there were of each kind."""
        found: Counter[str] = Counter()
        while _PERHAPS.search(
            text
        ):  # what was part of a longer number before may be one by itself next to a placeholder
            here: Counter[str] = Counter()
            for name, kind in self._looked_for():
                spans = list(_spans(_plain(text), kind, self.phone_regions))
                if spans:
                    here[name] += len(spans)
                    borders = [0, *(border for span in spans for border in span), len(text)]
                    kept = [text[start:end] for start, end in zip(borders[::2], borders[1::2], strict=True)]
                    text = kind.placeholder.join(kept)
            if not here:
                break
            found += here
        return text, found

    def _looked_for(self) -> Iterator[tuple[str, Kind]]:
        yield from ((name, kind) for name, kind in KINDS.items() if name in self.kinds)
        if self.phone_regions and "phone" in self.kinds:
            yield "phone", PHONE_AT_HOME

    def mask_all(self, value: Any) -> tuple[Any, Counter[str]]:
        """A value of JSON with all texts in it masked, and how many pieces there were of each kind."""
        found: Counter[str] = Counter()

        def masked(part: Any) -> Any:
            if isinstance(part, str):
                text, here = self.mask(part)
                found.update(here)
                return text
            if isinstance(part, Mapping):
                return {name: masked(inner) for name, inner in part.items()}
            return [masked(inner) for inner in part] if isinstance(part, list) else part

        return masked(value), found


def _spans(text: str, kind: Kind, regions: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Where data of a kind is in a text: apart from each other, the longest at each place."""
    place = 0
    while match := kind.pattern.search(text, place):
        start, end = match.span()
        is_number = end - start <= _LONGEST_NUMBER
        borders = [border.start() for border in _GROUP_END.finditer(match[0])] if is_number else []
        for length in (end - start, *reversed(borders)):
            if length >= kind.shortest and _is_one(kind.is_one, match[0][:length], regions):
                yield start, start + length
                place = start + length
                break
        else:
            place = start + (borders[0] if borders else end - start)


@functools.lru_cache(maxsize=1 << 14)
def _is_one(check: Callable[[str, tuple[str, ...]], bool], text: str, regions: tuple[str, ...]) -> bool:
    """The check, remembered: what a text repeats is checked once."""
    return check(text, regions)


def _plain(text: str) -> str:
    """``text`` with digits, hyphens, spaces and the at sign of other scripts as those of ASCII; its length stays."""
    return text if text.isascii() else text.translate(_plain_signs())


@functools.cache
def _plain_signs() -> dict[int, str]:
    signs: dict[int, str] = {ord("＠"): "@", ord("．"): ".", ord("＋"): "+", ord("−"): "-"}
    for code in range(0x80, sys.maxunicode + 1):
        category = unicodedata.category(character := chr(code))
        if category == "Nd":
            signs[code] = str(unicodedata.decimal(character))
        elif category in ("Pd", "Zs"):
            signs[code] = "-" if category == "Pd" else " "
    return signs
