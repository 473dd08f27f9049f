"""Softplus, a smooth ReLU (Dugas, Bengio, Bélisle, Nadeau, Garcia, 2000): ``out = log(1 + exp(x))``.

``exp(x)`` overflows for a large x; with the larger of 0 and x taken out of the logarithm nothing does::

    out = max(x, 0) + log(1 + exp(-|x|))

Backward: ``dx = dout s(x)`` with the logistic function s.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.op import op
from .sigmoid import sigmoid_forward


class SoftplusCache(NamedTuple):
    """What the backward needs."""

    x: Array  # (...,) the input


@op("x: *N")
def softplus_forward(x: Array) -> tuple[Array, SoftplusCache]:
    """``log(1 + exp(x))`` of each element; nothing overflows.

    Args:
        x: (...,) input.

    Returns:
        out (...,), at least 0, and the cache.
    """
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x))), SoftplusCache(x)


@op("cache.x: *N; dout: *N")
def softplus_backward(dout: Array, cache: SoftplusCache) -> Array:
    """Gradient of softplus.

    Args:
        dout: (...,) gradient of the output.
        cache: from the forward.

    Returns:
        dx (...,).
    """
    s, _ = sigmoid_forward.reference(cache.x)
    return dout * s
