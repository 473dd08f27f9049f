"""``log(sum(exp(x)))`` over the last axis, kept as two numbers: the largest element and the sum of exponentials.

``log(sum(exp(x))) = highest + log(total)`` with ``total = sum(exp(x - highest))``. Rounded to one number, it has only
the precision of ``highest``: with logits around 10,000 a float32 is off by up to 5e-4, and so is each probability.
Losses therefore subtract ``highest`` first, which rounds little or nothing::

    p       = exp(x - highest) / total
    log(p)  = (x - highest) - log(total)
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module


def row_maximum(x: Array) -> Array:
    """The largest element of each row.

    Args:
        x: (..., C) scores.

    Returns:
        (..., 1) of the dtype of ``x``; ``-inf`` if C is 0.
    """
    if x.shape[-1] == 0:
        return array_module(x).full((*x.shape[:-1], 1), -array_module(x).inf, x.dtype)  # type: ignore[no-any-return]
    return x.max(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def exp_sum(x: Array) -> tuple[Array, Array]:
    """The two parts of the log-sum-exp of each row.

    Args:
        x: (..., C) scores.

    Returns:
        highest (...,), the largest element, and total (...,), the sum of ``exp(x - highest)``: from 1 to C, or 0 if C
        is 0. Both are of the dtype of ``x``.
    """
    highest = row_maximum(x)  # (..., 1)
    return highest[..., 0], array_module(x).exp(x - highest).sum(axis=-1)


def log_sum_exp(x: Array) -> Array:
    """Logarithm of the sum of exponentials of each row, as one number.

    Args:
        x: (..., C) scores, C at least 1.

    Returns:
        (...,) of the dtype of ``x``.
    """
    highest, total = exp_sum(x)
    return highest + array_module(x).log(total)  # type: ignore[no-any-return]
