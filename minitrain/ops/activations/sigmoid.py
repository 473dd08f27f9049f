"""The logistic function ``s(x) = 1 / (1 + exp(-x))`` (Rumelhart, Hinton, Williams, 1986).

Backward: ``dx = dout s (1 - s)``.

``exp(-x)`` overflows for very negative x. Where x is negative, numerator and denominator are therefore multiplied by
``exp(x)``: ``s(x) = exp(x) / (1 + exp(x))``. Both cases in one line::

    s(x) = exp(min(x, 0)) / (1 + exp(-|x|))
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ..contract.op import op
from .caches import OutputCache


class SigmoidCache(OutputCache):
    """Saved for the backward."""


@op("x: *N")
def sigmoid_forward(x: Array) -> tuple[Array, SigmoidCache]:
    """Map x (...,) to the logistic function of each element, in [0, 1]; nothing overflows."""
    xp = array_module(x)
    out = xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(-abs(x)))
    return out, SigmoidCache(out)


@op("cache.out: *N; dout: *N")
def sigmoid_backward(dout: Array, cache: SigmoidCache) -> Array:
    """Gradient of the logistic function: dout (...,) to dx (...,)."""
    s = cache.out
    return dout * s * (1 - s)  # type: ignore[no-any-return]
