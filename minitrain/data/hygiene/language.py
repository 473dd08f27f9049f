"""Texts in other languages than wanted, as py3langid tells them.

py3langid has a naive Bayes classifier of byte n-grams for about 100 languages (Lui and Baldwin, "langid.py: An
Off-the-shelf Language Identification Tool", 2012), with its model of 5 MB in the package. Its answer for a text is
always the same.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ...errors import ConfigError, did_you_mean
from .filters import Finding, needed
from .words import without_long_marks


@dataclass(frozen=True)
class Language:
    """Finds texts that are not in one of some languages.

    Attributes:
        keep: ISO 639-1 codes of the languages to keep, such as ``("en", "de")``.
        min_probability: what the kept languages must have together.
        min_letters: texts with fewer letters are kept: of a few words no classifier can tell the language.

    Raises:
        ConfigError: if py3langid is not installed, a language is unknown, or a number is out of range.
    """

    keep: tuple[str, ...]
    min_probability: float = 0.5
    min_letters: int = 40

    reason = "language"

    def __post_init__(self) -> None:
        if not 0 <= self.min_probability <= 1:
            raise ConfigError(f"min_probability={self.min_probability} must be from 0 to 1")
        known = _identifier().labels
        for code in self.keep:
            if code not in known:
                raise ConfigError(f"unknown language {code!r}: {did_you_mean(code, known)}codes are as in ISO 639-1")
        if not self.keep:
            raise ConfigError("name at least one language to keep, such as en")

    def __call__(self, text: str) -> Finding | None:
        """The language of the text, if it is another one."""
        if sum(map(str.isalpha, text)) < self.min_letters:
            return None
        ranked = dict(_identifier().rank(without_long_marks(text)))
        wanted = sum(ranked[code] for code in self.keep)
        if wanted >= self.min_probability:
            return None
        first = max(ranked, key=lambda code: (ranked[code], code))
        return Finding(first, {"probability": round(ranked[first], 4), "wanted": round(wanted, 4)})


@functools.cache
def _identifier() -> Any:
    langid = needed("py3langid", "py3langid.langid", "a filter of languages")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
