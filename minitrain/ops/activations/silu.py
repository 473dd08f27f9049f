"""Sigmoid linear unit, also called swish (Elfwing, Uchibe, Doya, 2017, arXiv:1702.03118): ``out = x s(x)``.

s is the logistic function. Backward, by ``s' = s (1 - s)``: ``dx = dout s (1 + x (1 - s))``.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array
from ..contract.op import op
from .sigmoid import sigmoid_forward


class SiluCache(NamedTuple):
    """What the backward needs."""

    x: Array  # (...,) the input


@op("x: *N")
def silu_forward(x: Array) -> tuple[Array, SiluCache]:
    """``x * sigmoid(x)`` of each element.

    Args:
        x: (...,) input.

    Returns:
        out (...,) and the cache.
    """
    s, _ = sigmoid_forward.reference(x)
    return x * s, SiluCache(x)


@op("cache.x: *N; dout: *N")
def silu_backward(dout: Array, cache: SiluCache) -> Array:
    """Gradient of SiLU.

    Args:
        dout: (...,) gradient of the output.
        cache: from the forward.

    Returns:
        dx (...,).
    """
    x = cache.x
    s, _ = sigmoid_forward.reference(x)
    return dout * s * (1 + x * (1 - s))  # type: ignore[no-any-return]
