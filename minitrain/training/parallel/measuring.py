"""An evaluation on several ranks: what each batch adds to the measures, put together in the order of the batches.

The sums are formed in the order in which one rank alone would form them, so they have the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from ...measures.base import Mean, Measure, RunningSum

_NONE = object()


def can_share(measures: Mapping[str, Measure]) -> bool:
    """Whether all measures are sums over batches.

    Of others nobody knows how two can be joined: each rank measures all of the data then.
    """
    return all(type(measure) in (Mean, RunningSum) for measure in measures.values())


def contributions(factories: Mapping[str, Callable[[], Measure]], outputs: Any, batch: Any) -> list[Any]:
    """The share of a batch in each measure, as plain numbers."""
    added: list[Any] = []
    for factory in factories.values():
        measure = factory()
        measure.update(outputs, batch)
        if isinstance(measure, Mean):
            added.append([float(measure.total), float(measure.count)])
        elif isinstance(measure, RunningSum):
            added.append(np.asarray(measure.sums, np.float64).tolist())  # a batch has been added: there is a sum
    return added


def take_in(measures: Mapping[str, Measure], added: Sequence[Any]) -> None:
    """Add to the measures what a batch adds."""
    for measure, numbers in zip(measures.values(), added, strict=True):
        if isinstance(measure, Mean):
            measure.total += numbers[0]
            measure.count += numbers[1]
        elif isinstance(measure, RunningSum):
            sums = np.array(numbers, np.float64)
            measure.sums = sums if measure.sums is None else measure.sums + sums


def in_turn(lists: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """Entry 0 of each list, then entry 1 of each, and so on; the lists that are longer come first."""
    return (entry for entry in chain.from_iterable(zip_longest(*lists, fillvalue=_NONE)) if entry is not _NONE)
