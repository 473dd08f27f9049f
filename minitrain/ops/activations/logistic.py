"""The logistic function and its integral, softplus, as helpers of losses. Neither overflows for any x."""

from __future__ import annotations

from ...backend.arrays import Array, array_module


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` of each element."""
    xp = array_module(x)
    e = xp.exp(-abs(x))  # in [0, 1]
    return xp.where(x >= 0, 1 / (1 + e), e / (1 + e))  # type: ignore[no-any-return]


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))`` of each element."""
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))  # type: ignore[no-any-return]
