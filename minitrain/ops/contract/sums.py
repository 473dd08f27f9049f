"""Sums over many rows that keep their digits: what the gradients of weights are made of.

A running float32 sum loses more with each addition the larger it grows: over 2.5 million rows it is off by up to 1e-3
of its value. So rows are added in float64 and the sum is rounded once; products sum a thousand rows at a time. The
kernels add in blocks, see ``kernels/cpu/common/sums.py``.
"""

from __future__ import annotations

import math
from typing import Any

from ...backend.arrays import Array, array_module

BLOCK = 1024
"""Rows that BLAS may sum in one product: for thin matrices it keeps a running sum."""


def flat_rows(x: Array) -> Array:
    """(..., C) -> (R, C), also where R or C is 0."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def sum_over(x: Array, axis: Any = None, *, keepdims: bool = False) -> Array:
    """Sum over axes, formed in float64.

    Args:
        x: any array of floats.
        axis: one axis, or a tuple of them; ``None`` for all.
        keepdims: whether the axes stay, with length 1.

    Returns:
        The sum, of the dtype of ``x``; an array even if it has no dimensions.
    """
    xp = array_module(x)
    return xp.asarray(x.sum(axis=axis, dtype=xp.float64, keepdims=keepdims), x.dtype)  # type: ignore[no-any-return]


def row_mean(x: Array, *, keepdims: bool = False) -> Array:
    """Mean over the last axis, and 0 for rows of nothing: (..., C) -> (...,), or (..., 1) with ``keepdims``."""
    return x.mean(axis=-1, keepdims=keepdims) if x.shape[-1] else x.sum(axis=-1, keepdims=keepdims)  # type: ignore[no-any-return]


def dot_rows(a: Array, b: Array) -> Array:
    """Sum of the outer products of rows, ``a.T @ b``.

    Args:
        a: (..., R, N) rows.
        b: (..., R, K) rows, with the leading dimensions of ``a``.

    Returns:
        (..., N, K).
    """
    total = a[..., :BLOCK, :].swapaxes(-1, -2) @ b[..., :BLOCK, :]
    for first in range(BLOCK, a.shape[-2], BLOCK):
        rows = slice(first, first + BLOCK)
        total += a[..., rows, :].swapaxes(-1, -2) @ b[..., rows, :]
    return total
