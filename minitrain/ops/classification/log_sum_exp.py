"""``log(sum(exp(x)))`` over the last axis, as a helper of losses: nothing overflows, and an empty sum has a value."""

from __future__ import annotations

from ...backend.arrays import Array, array_module


def log_sum_exp(x: Array) -> Array:
    """Logarithm of the sum of exponentials of each row.

    Args:
        x: (..., C) scores.

    Returns:
        (...,) of the dtype of ``x``; ``-inf`` if C is 0.
    """
    xp = array_module(x)
    if x.shape[-1] == 0:
        return xp.full(x.shape[:-1], -xp.inf, x.dtype)  # type: ignore[no-any-return]
    highest = x.max(axis=-1, keepdims=True)  # (..., 1)
    return (xp.log(xp.exp(x - highest).sum(axis=-1, keepdims=True)) + highest)[..., 0]  # type: ignore[no-any-return]
