"""Paired tests: whether two models differ by more than the noise of the samples that both were measured on.

Both models saw the same samples, and easy samples are easy for both. So the test looks at the difference of each pair,
and finds much smaller differences than two separate intervals would.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ...backend.arrays import Array
from ...errors import DataError
from .bootstrap import check_resampling, draws, table_values
from .table import SampleTable


class Difference(NamedTuple):
    """How a model differs from another.

    Attributes:
        first: the value of the first model.
        second: the value of the second.
        low: lower end of the interval of ``second - first``.
        high: its upper end.
        p: how often two equal models would differ at least so much on these samples.
    """

    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """``second - first``."""
        return self.second - self.first


def compare_samples(
    first: SampleTable, second: SampleTable, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Difference]:
    """Compare two models on the same samples.

    The interval is that of the paired bootstrap: the same draws of samples for both models (Koehn, "Statistical
    Significance Tests for Machine Translation Evaluation", 2004). ``p`` is that of approximate randomisation: if the
    models were equal, the two rows of each sample could be swapped (Noreen, 1989; Riezler and Maxwell, 2005). Both work
    for values that are no means, such as BLEU.

    Args:
        first: rows of the first model.
        second: rows of the second, of the same samples in the same order.
        level: of the intervals.
        resamples: how often samples are drawn and swapped; the smallest p is ``1 / (resamples + 1)``.
        seed: equal seeds give equal results.

    Returns:
        The values that both have, by name.

    Raises:
        ConfigError: if a setting is out of range.
        DataError: if the tables are not of the same samples, or of fewer than two.
    """
    refuse_other_samples(first, second)
    check_resampling(first, level, resamples)
    shared = [name for name in first.measures if name in second.measures]
    shared = [name for name in shared if first.rows[name].shape[1:] == second.rows[name].shape[1:]]
    first, second = _only(first, shared), _only(second, shared)
    a, b = first.values(), second.values()
    names = [name for name in a if name in b]
    drawn = []
    for weights in draws(len(first), resamples, seed):
        drawn.append((table_values(first, weights), table_values(second, weights)))
    swapped = []
    init_rng = np.random.default_rng([seed, 1])
    for _ in range(resamples):
        swap = init_rng.integers(0, 2, len(first)).astype(np.float64)
        swapped.append((_mixed(first, second, swap), _mixed(second, first, swap)))
    found = {}
    for name in names:
        differences = _differences(drawn, name)
        low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2]).tolist()
        # A little less than the difference: sums in another order round differently.
        least = abs(b[name] - a[name]) * (1 - 1e-9)
        as_far = sum(abs(one) >= least for one in _differences(swapped, name))
        found[name] = Difference(a[name], b[name], low, high, (as_far + 1) / (resamples + 1))
    return found


def refuse_other_samples(first: SampleTable, second: SampleTable) -> None:
    """Raise a ``DataError`` unless two tables are of the same samples in the same order."""
    if first.data != second.data:
        raise DataError("the two models were evaluated on different data: evaluate both on the same held-out samples")
    if len(first) != len(second):
        raise DataError(
            f"the two models were evaluated on {len(first):,} and {len(second):,} samples: evaluate both on the same"
        )


def holm(p: Iterable[float]) -> list[float]:
    """P values of several comparisons, made larger so that all together they err no more often than one would.

    By Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    given = list(p)
    order = np.argsort(given, kind="stable").tolist()
    larger = [min(1.0, (len(given) - done) * given[i]) for done, i in enumerate(order)]
    raised = accumulate(larger, max)  # none is below that of a smaller p
    return [value for _, value in sorted(zip(order, raised, strict=True))]


def _only(table: SampleTable, names: list[str]) -> SampleTable:
    measures = {name: table.measures[name] for name in names}
    return SampleTable(measures, {name: table.rows[name] for name in names}, table.keys, table.data)


def _mixed(own: SampleTable, other: SampleTable, swap: Array) -> dict[str, float]:
    """The values of a table in which some samples, (N,) ones, have the rows of another table."""
    return {
        "_".join(filter(None, (name, key))): value
        for name, measure in own.measures.items()
        for key, value in measure.value(
            measure.sums(own.rows[name], 1 - swap) + measure.sums(other.rows[name], swap)
        ).items()
    }


def _differences(pairs: list[tuple[dict[str, float], dict[str, float]]], name: str) -> list[float]:
    return [b[name] - a[name] for a, b in pairs if name in a and name in b]
