"""Hypothesis strategies for what layers take: sizes that differ, arrays in any layout, masks.

Numbers come from a seeded NumPy generator whose seed Hypothesis draws: that is fast, and a failure shrinks to
small shapes and a small seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ..backend.arrays import Array
from .layouts import LAYOUTS, with_layout

VALUES = ("normal", "extreme", "special")

__all__ = ["VALUES", "arrays", "distinct_sizes", "integer_arrays", "layouts", "masks", "seeds", "shapes"]


def seeds() -> SearchStrategy[int]:
    """Seeds for ``numpy.random.default_rng``."""
    return st.integers(0, 2**16 - 1)


def layouts() -> SearchStrategy[str]:
    """The names that ``with_layout`` takes, the plain one first."""
    return st.sampled_from(LAYOUTS)


def shapes(
    min_dims: int = 1, max_dims: int = 3, *, min_size: int = 1, max_size: int = 5
) -> SearchStrategy[tuple[int, ...]]:
    """Shapes with ``min_dims`` to ``max_dims`` axes of ``min_size`` to ``max_size`` elements."""
    return st.lists(st.integers(min_size, max_size), min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def distinct_sizes(draw: DrawFn, *ranges: tuple[int, int]) -> tuple[int, ...]:
    """Sizes that are all different, so that no axis can be taken for another.

    Args:
        draw: given by Hypothesis.
        ranges: least and largest size of each axis.

    Example:
        ``B, T, C = data.draw(distinct_sizes((1, 4), (2, 6), (1, 8)))``
    """
    sizes: list[int] = []
    for low, high in ranges:
        free = [n for n in range(low, high + 1) if n not in sizes]
        if not free:
            raise ValueError(f"distinct_sizes{ranges}: the ranges are too narrow for different sizes")
        sizes.append(draw(st.sampled_from(free)))
    return tuple(sizes)


@st.composite
def arrays(
    draw: DrawFn,
    shape: tuple[int, ...] | SearchStrategy[tuple[int, ...]],
    dtype: Any = np.float64,
    *,
    layout: str | SearchStrategy[str] = "contiguous",
    values: str = "normal",
    scale: float = 1.0,
) -> Array:
    """Floating-point arrays.

    Args:
        draw: given by Hypothesis.
        shape: the shape, or a strategy for it.
        dtype: the dtype.
        layout: how it lies in memory, one of ``LAYOUTS`` or a strategy such as ``layouts()``.
        values: ``"normal"``; ``"extreme"`` for some 1e4, -1e4, zeros and subnormals among them; ``"special"``
            for some NaN and infinities.
        scale: standard deviation of the normal ones.
    """
    if values not in VALUES:
        raise ValueError(f"arrays: values={values!r}: use one of {', '.join(VALUES)}")
    shape = draw(shape) if isinstance(shape, SearchStrategy) else shape
    rng = np.random.default_rng(draw(seeds()))
    x = rng.standard_normal(shape) * scale
    if values != "normal":
        tiny = float(np.finfo(dtype).smallest_subnormal)
        odd = (1e4, -1e4, 0.0, -0.0, tiny, -tiny) if values == "extreme" else (np.nan, np.inf, -np.inf)
        x = np.where(rng.random(shape) < 0.3, rng.choice(odd, shape), x)
    return with_layout(x.astype(dtype), draw(layout) if isinstance(layout, SearchStrategy) else layout)


@st.composite
def integer_arrays(draw: DrawFn, shape: tuple[int, ...], size: int, dtype: Any = np.int64) -> Array:
    """Integers in [0, ``size``), such as token ids; with more elements than ``size`` some repeat."""
    return np.random.default_rng(draw(seeds())).integers(0, size, shape).astype(dtype)


@st.composite
def masks(draw: DrawFn, shape: Sequence[int], *, keep_one: bool = True) -> Array:
    """Boolean masks, True = may attend.

    Args:
        draw: given by Hypothesis.
        shape: the shape; the last axis counts keys.
        keep_one: whether each row may attend to something.
    """
    rng = np.random.default_rng(draw(seeds()))
    mask = rng.random(tuple(shape)) < draw(st.sampled_from([0.7, 0.3, 1.0]))
    if keep_one and mask.size:
        chosen = rng.integers(0, mask.shape[-1], mask.shape[:-1])  # one key for each row
        np.put_along_axis(mask, chosen[..., None], True, axis=-1)
    return mask
