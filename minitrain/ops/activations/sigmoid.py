"""The logistic function ``s(x) = 1 / (1 + exp(-x))`` (Rumelhart, Hinton, Williams, 1986).

Backward: ``dx = dout s (1 - s)``.

``exp(-x)`` overflows for a very negative x. Where x is negative, the fraction is therefore multiplied by ``exp(x)``
above and below: ``s(x) = exp(x) / (1 + exp(x))``. Both halves in one line::

    s(x) = exp(min(x, 0)) / (1 + exp(-|x|))
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.op import op


class SigmoidCache(NamedTuple):
    """What the backward needs."""

    out: Array  # (...,) the output


@op("x: *N")
def sigmoid_forward(x: Array) -> tuple[Array, SigmoidCache]:
    """The logistic function of each element; nothing overflows.

    Args:
        x: (...,) input.

    Returns:
        out (...,) in [0, 1] and the cache.
    """
    xp = array_module(x)
    out = xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(-abs(x)))
    return out, SigmoidCache(out)


@op("cache.out: *N; dout: *N")
def sigmoid_backward(dout: Array, cache: SigmoidCache) -> Array:
    """Gradient of the logistic function.

    Args:
        dout: (...,) gradient of the output.
        cache: from the forward.

    Returns:
        dx (...,).
    """
    s = cache.out
    return dout * s * (1 - s)  # type: ignore[no-any-return]
