"""Outputs and batches for measures, and every way to cut them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minitrain.measures import SampleMeasure
from minitrain.measures.base import as_factory, new_measure, results


def measured(metric: Any, outputs: Any, batch: Any, cuts: Any = ()) -> dict[str, float]:
    """The results of a measure called ``m`` over the rows of outputs and batch, cut into parts at ``cuts``."""
    made = new_measure(as_factory(metric))
    size = len(rows_of(outputs))
    bounds = [0, *sorted(cuts), size]
    for start, end in pairwise(bounds):
        made.update(cut(outputs, start, end), cut(batch, start, end))
    return results({"m": made})


def rows_of(tree: Any) -> Any:
    """A part of a tree that has a row for each sample."""
    return tree[0] if isinstance(tree, tuple) else tree


def cut(tree: Any, start: int, end: int) -> Any:
    """Rows of arrays, tuples, dictionaries and lists of samples."""
    if isinstance(tree, dict):
        return {name: cut(value, start, end) for name, value in tree.items()}
    return tuple(cut(part, start, end) for part in tree) if isinstance(tree, tuple) else tree[start:end]


@st.composite
def cuts(draw: Any, size: int) -> list[int]:
    """Where to cut that many rows; parts may be of one row."""
    return sorted(draw(st.sets(st.integers(1, size - 1), max_size=size - 1))) if size > 1 else []


def classified(
    seed: int, *shape: int, classes: int = 4, ignored: float = 0.2, dtype: Any = np.float32
) -> tuple[Any, Any]:
    """Logits (..., V) with ties, and targets (...,), of which some do not count."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-4, 5, (*shape, classes)).astype(dtype) / 2
    targets = rng.integers(0, classes, shape)
    return logits, np.where(rng.random(shape) < ignored, -100, targets)


def value_of(measure: SampleMeasure, outputs: Any, batch: Any) -> dict[str, float]:
    """The value of a measure over one batch."""
    return measure.value(measure.sums(measure.rows(outputs, batch)))
