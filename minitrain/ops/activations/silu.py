"""Sigmoid linear unit, also called swish (Elfwing, Uchibe, Doya, 2017, arXiv:1702.03118): ``out = x s(x)``.

s is the logistic function. Backward, by ``s' = s (1 - s)``: ``dx = dout s (1 + x (1 - s))``.
"""

from __future__ import annotations

from ...backend.arrays import Array
from ..contract.op import op
from .caches import InputCache
from .sigmoid import sigmoid_forward


class SiluCache(InputCache):
    """Saved for the backward."""


@op("x: *N")
def silu_forward(x: Array) -> tuple[Array, SiluCache]:
    """Map x (...,) to ``x * sigmoid(x)`` of each element."""
    s, _ = sigmoid_forward.reference(x)
    return x * s, SiluCache(x)


@op("cache.x: *N; dout: *N")
def silu_backward(dout: Array, cache: SiluCache) -> Array:
    """Gradient of SiLU: dout (...,) to dx (...,)."""
    x = cache.x
    s, _ = sigmoid_forward.reference(x)
    return dout * s * (1 + x * (1 - s))  # type: ignore[no-any-return]
