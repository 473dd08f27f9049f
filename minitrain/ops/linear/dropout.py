"""Inverted dropout (Srivastava et al., JMLR 2014): zero each element with probability p, scale the rest by 1/(1-p).

No mask is kept. Element ``i`` of a sample is kept if its counter-based random word is at least ``p * 2**32``. The
backward computes that word again from the key (``minitrain.random``).
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ...errors import ShapeError
from ...random import Key, random_bits
from ..contract.op import op


class DropoutCache(NamedTuple):
    """Saved for the backward."""

    p: float
    key: Key | None


def _check(x: Array, *, p: float, key: Key | None) -> None:
    check_probability("dropout_forward", p)


@op("x: *N", check=_check)
def dropout_forward(x: Array, *, p: float, key: Key | None) -> tuple[Array, DropoutCache]:
    """Drop elements at random.

    Args:
        x: (B, ...) input; the first axis counts samples.
        p: probability of dropping, in [0, 1).
        key: random key of the mask; ``None`` means evaluation, which returns ``x`` itself.

    Returns:
        out (B, ...) and the cache.
    """
    cache = DropoutCache(p, key)
    if key is None or p == 0:
        return x, cache
    return x * dropout_mask(x, p, key), cache


@op("dout: *N")
def dropout_backward(dout: Array, cache: DropoutCache) -> Array:
    """Gradient of dropout: dout (B, ...) to dx (B, ...)."""
    p, key = cache
    return dout if key is None or p == 0 else dout * dropout_mask(dout, p, key)


def check_probability(function: str, p: float) -> None:
    """Raise ``ShapeError`` unless ``p`` is a probability below 1."""
    if not 0 <= p < 1:
        raise ShapeError(f"{function}: p = {p} must be in [0, 1)")


def threshold(p: float) -> int:
    """The 32-bit word below which an element is dropped."""
    return round(p * 2**32)


def dropout_mask(like: Array, p: float, key: Key, shape: tuple[int, ...] | None = None) -> Array:
    """The factors 0 or 1/(1-p), of ``like``'s shape (or ``shape``), dtype and device."""
    keep = random_bits(key, shape or like.shape, array_module(like)) >= threshold(p)
    return keep.astype(like.dtype) * like.dtype.type(1 / (1 - p))  # type: ignore[no-any-return]
