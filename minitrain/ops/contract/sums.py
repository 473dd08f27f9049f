"""Sums over many rows that keep their digits: what the gradients of weights are made of.

One running float32 sum loses a little with each addition, and the more the larger it has grown: over 2.5 million rows
it ends up to 1e-3 of its value off. So rows are added in float64 and the sum is rounded once; products add a thousand
rows at a time (``products.py``). The kernels add in blocks, see ``kernels/cpu/common/sums.py``.
"""

from __future__ import annotations

import math
from typing import Any

from ...backend.arrays import Array, array_module


def flat_rows(x: Array) -> Array:
    """(..., C) -> (R, C), also where R or C is 0."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def sum_over(x: Array, axis: Any = None) -> Array:
    """Sum over axes, formed in float64.

    Args:
        x: any array of floats.
        axis: one axis, or a tuple of them; ``None`` for all.

    Returns:
        The sum, of the dtype of ``x``; an array even if it has no dimensions.
    """
    xp = array_module(x)
    return xp.asarray(x.sum(axis=axis, dtype=xp.float64), x.dtype)  # type: ignore[no-any-return]


def row_mean(x: Array, *, keepdims: bool = False) -> Array:
    """Mean over the last axis, and 0 for rows of nothing: (..., C) -> (...,), or (..., 1) with ``keepdims``."""
    return x.mean(axis=-1, keepdims=keepdims) if x.shape[-1] else x.sum(axis=-1, keepdims=keepdims)  # type: ignore[no-any-return]
