"""Rectified linear unit (Nair, Hinton, 2010): ``out = max(x, 0)``. Backward: ``dx = dout`` where ``x > 0``, else 0.

At the kink, ``x = 0``, the derivative is taken to be 0. ``out > 0`` exactly where ``x > 0``, so the backward needs only
the output.
"""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ..contract.op import op
from .caches import OutputCache


class ReluCache(OutputCache):
    """Saved for the backward."""


@op("x: *N")
def relu_forward(x: Array) -> tuple[Array, ReluCache]:
    """Map x (...,) to the positive part of each element."""
    out = array_module(x).maximum(x, 0)
    return out, ReluCache(out)


@op("cache.out: *N; dout: *N")
def relu_backward(dout: Array, cache: ReluCache) -> Array:
    """Gradient of ReLU: dout (...,) to dx (...,)."""
    return array_module(dout).where(cache.out > 0, dout, 0)  # type: ignore[no-any-return]
