"""Retrieval: whether what belongs to a query is among the nearest of all candidates of a data set, both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend.arrays import Array, to_numpy
from ..errors import ConfigError
from .base import SampleMeasure, as_rows
from .embeddings import Features, both_sides, directions

AT_ONCE = 1 << 22
"""Similarities that are held at once: 32 MiB."""
SAME = 1e-12
"""Cosines that differ by less are equal: rounding may tell apart those of equal embeddings."""
REVERSE = "reverse_"


def ranks(queries: Array, candidates: Array, groups: Array | None = None) -> Array:
    """How many candidates stand before the right one, for each query: 0 where it is the nearest.

    Ties count against the model: a wrong candidate stands before the right one unless it is farther. So a model that
    gives everything the same embedding finds nothing. NaN is never near.

    Args:
        queries: (N, C) features; query i belongs to candidate i.
        candidates: (N, C) features.
        groups: (N,) numbers; any candidate with the number of the query is right, and the nearest of them counts.

    Returns:
        (N,) integers.
    """
    left, right = directions(queries), directions(candidates)
    N, found = len(left), [np.zeros(0, np.int64)]
    groups = np.arange(N) if groups is None else np.asarray(groups)
    size = queries_at_once(N)
    for start in range(0, N, size):
        cosines = np.nan_to_num(left[start : start + size] @ right.T, nan=-np.inf)  # (n, N)
        is_right = groups[start : start + size, None] == groups
        best = np.where(is_right, cosines, -np.inf).max(axis=1, keepdims=True)  # (n, 1)
        farther = cosines < best - SAME
        found.append((~farther & ~is_right).sum(axis=1))
    return np.concatenate(found)


def queries_at_once(candidates: int) -> int:
    """How many queries are compared with all candidates at once."""
    return max(1, AT_ONCE // (candidates + 1))


class RecallOfRanks(SampleMeasure):
    """Recall and mean reciprocal rank, of samples whose ranks are known already; `Retrieval` makes them.

    Args:
        ks: see `Retrieval`.
    """

    kind = "recall"

    def __init__(self, ks: Sequence[int] = (1, 5, 10)) -> None:
        self.ks = tuple(ks)
        if not self.ks or min(self.ks) < 1:
            raise ConfigError(f"Retrieval: ks={ks!r} must be numbers from 1 on")

    def rows(self, outputs: Any, batch: Any) -> Array:
        """The hits at each k and the reciprocal rank, both ways, and 1: (N, 2 K + 3).

        Args:
            outputs: the ranks (N,) of both directions.
            batch: is not read.
        """
        columns = []
        for found in outputs:
            columns += [found < k for k in self.ks] + [1 / (found + 1)]
        return as_rows(*columns, np.ones(len(outputs[0])))

    def value(self, sums: Array) -> dict[str, float]:
        """``top1`` and so on, ``mrr``, and the same with ``reverse_`` in front."""
        if not sums[-1]:
            return {}
        names = [f"top{k}" for k in self.ks] + ["mrr"]
        names += [f"{REVERSE}{name}" for name in names]
        return dict(zip(names, (sums[:-1] / sums[-1]).tolist(), strict=True))

    def settings(self) -> dict[str, Any]:
        """See the base class."""
        return {"ks": list(self.ks)}


class Retrieval:
    """Finds each right side by its left side among all of the data, and each left side by its right side.

    The embeddings of the whole data set are kept, ``8 C`` bytes and more for each side of a pair: what is near is
    known when all candidates are. So the value does not depend on the batches.

    The results are ``top1`` and so on, the share of queries whose right answer is among the k nearest; ``mrr``, the
    mean of one over its place; ``median_rank``, the median of its place, from 1; and the same with ``reverse_`` in
    front, for right to left. Ties count against the model, see `ranks`.

    Args:
        ks: how many of the nearest may hold the answer.
        features: finds the features of both sides in outputs and a batch.
        groups: finds numbers (B,) in a batch; pairs of one number are right answers for each other, such as several
            texts of one image. ``None`` if each pair stands alone.
    """

    def __init__(
        self,
        ks: Sequence[int] = (1, 5, 10),
        *,
        features: Features = both_sides,
        groups: Callable[[Any], Array] | None = None,
    ) -> None:
        self.samples = RecallOfRanks(ks)
        self.features, self.groups = features, groups
        self._left: list[Array] = []
        self._right: list[Array] = []
        self._groups: list[Array] = []

    def update(self, outputs: Any, batch: Any) -> None:
        """Keep the embeddings of a batch."""
        left, right = self.features(outputs, batch)
        self._left.append(to_numpy(left))
        self._right.append(to_numpy(right))
        if self.groups is not None:
            self._groups.append(to_numpy(self.groups(batch)))

    def ranks(self) -> tuple[Array, Array]:
        """The ranks (N,) of all queries, from 0: left to right, and right to left."""
        if not self._left:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing
        left, right = np.concatenate(self._left), np.concatenate(self._right)
        groups = np.concatenate(self._groups) if self._groups else None
        return ranks(left, right, groups), ranks(right, left, groups)

    def rows(self) -> Array:
        """The rows of all samples, for `RecallOfRanks`."""
        return self.samples.rows(self.ranks(), None)

    def result(self) -> dict[str, float]:
        """The values over all of the data."""
        both = self.ranks()
        values = self.samples.value(self.samples.sums(self.samples.rows(both, None)))
        if not values:
            return {}
        medians = {f"{way}median_rank": float(np.median(one + 1)) for way, one in zip(("", REVERSE), both, strict=True)}
        return values | medians
