"""Held-out pairs of texts, and what is measured of the texts that a model writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...data.encoded.overlong import texts_in
from ...data.encoded.pairs import TextPairs
from ...data.text.symbols import SymbolTokenizer
from ...formats import one_line
from ...measures import Bleu, Chrf, ErrorRate, ExactMatch, SampleTable
from ...measures.base import Measure, Measures
from .pairs import PairProcessor

WORST = 5
"""Pairs that are shown because the model is furthest from what is right."""
WIDEST = 100
"""Characters of a text in their list."""


class PairsWithReferences(NamedTuple):
    """A batch of pairs to evaluate on.

    Attributes:
        source: (B, S) token ids, padded.
        target: (B, T + 1) token ids, padded, of the first reference.
        references: for each pair all targets that are right.
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    references: list[list[str]]


class EvaluationPairs:
    """Held-out pairs in order of length, each once, with all their references.

    Args:
        samples: the pairs.
        batch_size: pairs in a batch.
    """

    def __init__(self, samples: TextPairs, batch_size: int) -> None:
        self.samples, self.batch_size = samples, batch_size
        self._order = np.argsort(samples.lengths.sum(axis=1), kind="stable")

    def __iter__(self) -> Iterator[PairsWithReferences]:
        return self._batches(range(0, len(self._order), self.batch_size))

    def spread(self, count: int) -> Iterator[PairsWithReferences]:
        """``count`` batches, spread evenly over the lengths."""
        starts = range(0, len(self._order), self.batch_size)
        chosen = np.linspace(0, len(starts) - 1, min(count, len(starts))).astype(int)
        return self._batches([starts[i] for i in chosen])

    def record(self, place: int) -> Mapping[str, Any]:
        """The texts of the pair at a place in this order."""
        return self.samples.records[int(self.samples.rows[self._order[place]])]

    def _batches(self, starts: Sequence[int]) -> Iterator[PairsWithReferences]:
        samples = self.samples
        for start in starts:
            rows = self._order[start : start + self.batch_size].tolist()
            pair = samples.collate([samples[row] for row in rows])
            wanted = [texts_in(samples.records[int(samples.rows[row])]["target"]) for row in rows]
            yield PairsWithReferences(pair.source, pair.target, wanted)


class Written:
    """Lets a model write about batches, and keeps what it wrote.

    Attributes:
        write: the texts of a batch.
        texts: all texts so far.
    """

    def __init__(self, write: Callable[[Any], list[str]]) -> None:
        self.write = write
        self.texts: list[str] = []

    def __call__(self, batch: Any) -> list[str]:
        """The texts of a batch."""
        found = self.write(batch)
        self.texts += found
        return found


def worst_pairs(pairs: EvaluationPairs, texts: Sequence[str], table: SampleTable, measure: str) -> list[str]:
    """Lines with the pairs of which the largest share is wrong; none if everything is right.

    Args:
        pairs: the pairs.
        texts: the text that the model wrote for each, in their order.
        table: has the edits and the length of each.
        measure: their name in it.
    """
    edits, length = table.rows[measure].T
    order = np.lexsort((-edits, -edits / np.maximum(length, 1)))[:WORST]
    found = []
    for row in order[edits[order] > 0].tolist():
        record = pairs.record(row)
        lines = {"source": record["source"], "written": texts[row], "right": " | ".join(texts_in(record["target"]))}
        found += ["", *(f"{name:<8}{_cut(text)}" for name, text in lines.items())]
    return ["", f"furthest from what is right, by {measure.removesuffix(' %')}:", *found] if found else []


def _cut(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= WIDEST else f"{shown[: WIDEST - 1]}…"


def measures_of(processor: PairProcessor) -> dict[str, Measures]:
    """The measures of translations: errors of words or characters, whole texts, and BLEU and chrF of sentences."""
    target = processor.target
    if isinstance(target, SymbolTokenizer):
        split: Callable[[str], Sequence[str]] = str.split if target.separator else list
        name = "errors of words %" if target.separator else "errors of characters %"
        return {name: ErrorRate(split), "right %": ExactMatch()}
    return word_measures()


def word_measures() -> dict[str, Measures]:
    """Errors of words, whole texts, and BLEU and chrF if sacrebleu is installed."""
    scores: dict[str, Measures] = {"BLEU": Bleu(), "chrF": Chrf()} if find_spec("sacrebleu") else {}
    return {"errors of words %": ErrorRate(str.split), "right %": ExactMatch(), **scores}


def signatures(measures: Mapping[str, Any]) -> tuple[str, ...]:
    """How scores were computed, a line for each that has a signature."""
    return tuple(f"{name}: {one.signature}" for name, one in measures.items() if isinstance(one, Bleu | Chrf))


def copied(pairs: EvaluationPairs, measures: Mapping[str, Any]) -> dict[str, float]:
    """The measures of a translator that copies the source."""
    found: dict[str, Measure] = {name: measure() for name, measure in measures.items()}
    tokenizer = pairs.samples.source.tokenizer
    for batch in pairs:
        texts = [tokenizer.decode(row[row != pairs.samples.pad_id]) for row in batch.source]
        for one in found.values():
            one.update(texts, batch)
    return {name: one.result()[""] for name, one in found.items()}
