"""Edit distance, and what is made of it: the error rate of words, phonemes or characters; and exact matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array
from ..errors import DataError
from .base import SampleMeasure, as_rows, ratio
from .fields import references_of

References = Callable[[Any], Sequence[Any]]
"""The references of a batch: for each sample a text, a list of units, or a list of several of either."""


def edit_distance(left: Sequence[Any], right: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that turn one sequence into the other.

    By Wagner and Fischer, "The String-to-String Correction Problem" (1974), in the memory of one row.
    """
    row = list(range(len(right) + 1))  # the distance of what was read of left to each beginning of right
    for i, unit in enumerate(left, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(right, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (unit != other))
    return row[-1]


class ErrorRate(SampleMeasure):
    """Edits to the nearest reference over the length of the references: WER of words, PER of phonemes, CER of letters.

    Of several references, the one with the fewest edits counts; of several of these, the longest.

    Args:
        split: how a text becomes units: ``str.split`` into words, ``list`` into characters. Other sequences, such as
            lists of phonemes or ids, are units already.
        references: finds the references of a batch; outputs are B texts or sequences.
    """

    kind = "error_rate"

    def __init__(
        self, split: Callable[[str], Sequence[str]] = str.split, *, references: References = references_of
    ) -> None:
        self.split, self.references = split, references

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The edits and the length of the reference of each sample: (B, 2).

        Raises:
            DataError: if the numbers of outputs and references differ, or a sample has no reference.
        """
        rows = []
        for found, wanted in paired(outputs, self.references(batch)):
            units = self._units(found)
            distances = [(edit_distance(units, one), -len(one)) for one in map(self._units, wanted)]
            edits, length = min(distances)
            rows.append((edits, -length))
        return np.array(rows, np.float64).reshape(-1, 2)

    def value(self, sums: Array) -> dict[str, float]:
        """The rate; above 1 where more is inserted than there is."""
        return ratio(sums[0], sums[1])

    def _units(self, sequence: Any) -> list[Any]:
        return list(self.split(sequence) if isinstance(sequence, str) else sequence)


class ExactMatch(SampleMeasure):
    """The share of samples that are equal to a reference. One minus it is the word error rate of letters to phonemes.

    Args:
        references: finds the references of a batch; outputs are B texts or sequences.
    """

    kind = "exact_match"

    def __init__(self, *, references: References = references_of) -> None:
        self.references = references

    def rows(self, outputs: Any, batch: Any) -> Array:
        """Whether each sample is equal to a reference, and 1: (B, 2).

        Raises:
            DataError: see `ErrorRate.rows`.
        """
        right = [
            any(_plain(found) == _plain(one) for one in wanted)
            for found, wanted in paired(outputs, self.references(batch))
        ]
        return as_rows(right, [1] * len(right))

    def value(self, sums: Array) -> dict[str, float]:
        """The share, from 0 to 1."""
        return ratio(sums[0], sums[1])


def paired(outputs: Sequence[Any], references: Sequence[Any]) -> list[tuple[Any, list[Any]]]:
    """Each output with its references, always a list of them.

    A text is one reference. So is a list of units; a list of texts or of lists is several references.

    Raises:
        DataError: if the numbers differ, or a sample has no reference.
    """
    if len(outputs) != len(references):
        raise DataError(f"there are {len(outputs)} outputs and references for {len(references)}: give one for each")
    found = [(output, _several(wanted, output)) for output, wanted in zip(outputs, references, strict=True)]
    for number, (_, wanted) in enumerate(found):
        if not wanted:
            raise DataError(f"sample {number} of the batch has no reference: leave it out, or list what is right")
    return found


def _several(wanted: Any, output: Any) -> list[Any]:
    """References as a list: what has the type of an output is one, and so is a flat list of what is no text."""
    if isinstance(wanted, str):
        return [wanted]
    several: list[Any] = list(wanted)
    if isinstance(output, str) or (
        several and all(hasattr(one, "__len__") and not isinstance(one, str) for one in several)
    ):
        return several
    return [several]


def _plain(sequence: Any) -> Any:
    return sequence if isinstance(sequence, str) else list(sequence)
