"""Texts that share a run of words with the evaluation set.

An evaluation is too good if its texts were in the training data. As in GPT-3 (Brown et al., 2020, arXiv:2005.14165,
appendix C), a text is contaminated if 13 words in a row are in a held-out text, compared without case and signs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...errors import ConfigError, DataError
from ..text.corpus import PathLike
from .filters import Finding
from .sources import Source, read_items, source_files, text_of
from .words import ngrams, number_of, words


@dataclass(frozen=True)
class HeldOut:
    """Finds texts that share ``ngram`` words in a row with a held-out text.

    A held-out text with fewer words is found only where a text has the same words and no others. About 100 bytes are
    in memory for each word of the held-out texts.

    Attributes:
        texts: how many held-out texts there are.
        ngram: words in a row.
        names: the files they are from.
    """

    texts: int
    ngram: int = 13
    names: tuple[str, ...] = ()
    _found_in: dict[int, int] = field(default_factory=dict, repr=False)  # an n-gram -> the first text with it

    reason = "held_out"

    @classmethod
    def of(cls, texts: Iterable[str], *, ngram: int = 13, names: tuple[str, ...] = ()) -> HeldOut:
        """The held-out ``texts``.

        Raises:
            ConfigError: if ``ngram`` is below 1.
            DataError: if there are no words.
        """
        if ngram < 1:
            raise ConfigError(f"ngram={ngram} must be at least 1; 13 words are usual")
        found_in: dict[int, int] = {}
        number = 0
        for number, text in enumerate(texts, 1):
            for gram in _grams(words(text), ngram):
                found_in.setdefault(gram, number)
        if not found_in:
            raise DataError(f"there are no words in the held-out texts{' of ' if names else ''}{', '.join(names)}")
        return cls(number, ngram, names, found_in)

    @classmethod
    def read(
        cls,
        sources: PathLike | Sequence[PathLike],
        *,
        ngram: int = 13,
        unit: str = "blank",
        columns: Sequence[str] | None = None,
    ) -> HeldOut:
        """The held-out texts in files.

        Args:
            sources: files and folders as for `clean`.
            ngram: words in a row.
            unit: what a record of a text file is.
            columns: whose texts count; ``None`` takes all.

        Raises:
            ConfigError: if a setting is not one.
            DataError: if a file cannot be read, or a record is broken.
        """
        files = source_files(sources, unit)
        return cls.of(_texts_of(files, unit, columns), ngram=ngram, names=tuple(str(file.path) for file in files))

    def __call__(self, text: str) -> Finding | None:
        """How many n-grams of the text are held out, if any, and the first held-out text with one."""
        grams = _grams(words(text), self.ngram)
        shared = [number for gram in grams if (number := self._found_in.get(gram))]
        if not shared:
            return None
        return Finding(f"{self.ngram} words", {"shared": len(shared), "of": len(grams), "held_out": min(shared)})


def _grams(parts: list[str], size: int) -> list[int]:
    """Numbers of the n-grams; of fewer words one, which is no n-gram's."""
    if 0 < len(parts) < size:
        return [number_of("\n".join(parts))]
    return [number_of(gram) for gram in ngrams(parts, size)]


def _texts_of(files: Iterable[Source], unit: str, columns: Sequence[str] | None) -> Iterable[str]:
    for file in files:
        for item in read_items(file, unit):
            if item.row is None:
                raise DataError(f"{item.place} of the held-out texts is broken: {item.reason}; correct it")
            yield text_of(item.row, columns)
