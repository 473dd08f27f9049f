"""Softplus, a smooth ReLU (Dugas, Bengio, Bélisle, Nadeau, Garcia, 2000): ``out = log(1 + exp(x))``.

``exp(x)`` overflows for large x. With ``max(x, 0)`` taken out of the logarithm, nothing does::

    out = max(x, 0) + log(1 + exp(-|x|))

Backward: ``dx = dout s(x)`` with the logistic function s.
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ..contract.op import op
from .caches import InputCache
from .sigmoid import sigmoid_forward


class SoftplusCache(InputCache):
    """Saved for the backward."""


@op("x: *N")
def softplus_forward(x: Array) -> tuple[Array, SoftplusCache]:
    """Map x (...,) to ``log(1 + exp(x))`` of each element, at least 0; nothing overflows."""
    xp = array_module(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x))), SoftplusCache(x)


@op("cache.x: *N; dout: *N")
def softplus_backward(dout: Array, cache: SoftplusCache) -> Array:
    """Gradient of softplus: dout (...,) to dx (...,)."""
    s, _ = sigmoid_forward.reference(cache.x)
    return dout * s
