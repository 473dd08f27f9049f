"""Cosines ``a . b / (|a| |b|)`` between all pairs of two sets of features, as a helper of contrastive losses."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..norms.l2_normalize import L2NormalizeCache, l2_normalize_backward, l2_normalize_forward


class CosineCache(NamedTuple):
    """Saved for the gradient: both sets, scaled to length one."""

    left: L2NormalizeCache  # of (N, C)
    right: L2NormalizeCache  # of (M, C)


def cosines(left: Array, right: Array) -> tuple[Array, CosineCache]:
    """Cosines (N, M) of the angles between the rows of left (N, C) and right (M, C); 0 for a row of zeros."""
    left, left_cache = l2_normalize_forward(left)
    right, right_cache = l2_normalize_forward(right)
    return left @ right.T, CosineCache(left_cache, right_cache)  # (N, C) @ (C, M)


def cosines_backward(dcosines: Array, cache: CosineCache) -> tuple[Array, Array]:
    """Map dcosines (N, M) to dleft (N, C) and dright (M, C)."""
    dleft = dcosines @ cache.right.out  # (N, M) @ (M, C)
    dright = dcosines.T @ cache.left.out  # (M, N) @ (N, C)
    return l2_normalize_backward(dleft, cache.left), l2_normalize_backward(dright, cache.right)
