"""BLEU, chrF and TER of translations, as sacrebleu computes them.

The statistics of each sentence are kept as sums, so the value of any batches is that of the whole corpus. Published
values need the ``signature``, which says how texts were cut into words and what was smoothed (Post, "A Call for Clarity
in Reporting BLEU Scores", 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..errors import ConfigError
from .base import SampleMeasure
from .edits import References, paired
from .fields import references_of


class SacrebleuMeasure(SampleMeasure):
    """A corpus metric of sacrebleu. Outputs are B texts, and each sample has one reference or several.

    Args:
        references: finds the references of a batch.
        options: of the class of sacrebleu.

    Attributes:
        most_references, fewest_references: of the samples so far, for the signature.

    Raises:
        ConfigError: if sacrebleu is not installed, or an option is wrong.
    """

    scorer: str  # the class of sacrebleu

    def __init__(self, *, references: References = references_of, **options: Any) -> None:
        self.references, self.options = references, options
        self._scorer = _sacrebleu(self.scorer, options)
        self._numbers: set[int] = set()

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The statistics of each sentence, (B, S) counts.

        Raises:
            DataError: if the numbers of outputs and references differ, or a sample has no reference.
        """
        rows = []
        for found, wanted in paired(outputs, self.references(batch)):
            rows += self._scorer._extract_corpus_statistics([found], [[one] for one in wanted])
            self._numbers.add(len(wanted))
        return np.array(rows, np.float64)

    def value(self, sums: Array) -> dict[str, float]:
        """The score, as sacrebleu counts: from 0 to 100 for BLEU and chrF."""
        return {"": float(self._scorer._compute_score_from_stats(sums.tolist()).score)}

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return dict(self.options)

    @property
    def signature(self) -> str:
        """How the score was computed, to be printed with it; of nothing, without the number of references."""
        self._scorer.num_refs = next(iter(self._numbers)) if len(self._numbers) == 1 else -1
        return str(self._scorer.get_signature().format())


class Bleu(SacrebleuMeasure):
    """BLEU of a corpus (Papineni et al., 2002); from 0 to 100, more is better.

    Args:
        references: finds the references of a batch.
        options: of ``sacrebleu.BLEU``, such as ``lowercase=True`` or ``tokenize="char"``.
    """

    kind, scorer = "bleu", "BLEU"


class Chrf(SacrebleuMeasure):
    """chrF, the F score of character n-grams (Popović, 2015); from 0 to 100, more is better.

    Args:
        references: finds the references of a batch.
        options: of ``sacrebleu.CHRF``; ``word_order=2`` gives chrF++.
    """

    kind, scorer = "chrf", "CHRF"


class Ter(SacrebleuMeasure):
    """TER, edits and shifts of words per word of a reference (Snover et al., 2006) in percent; less is better.

    Args:
        references: finds the references of a batch.
        options: of ``sacrebleu.TER``.
    """

    kind, scorer = "ter", "TER"


def _sacrebleu(name: str, options: dict[str, Any]) -> Any:
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{name} needs sacrebleu, which is not installed ({error}): pip install 'minitrain[evaluation]'"
        ) from error
    try:
        return getattr(metrics, name)(**options)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"sacrebleu.{name} does not take these options: {error}") from error
