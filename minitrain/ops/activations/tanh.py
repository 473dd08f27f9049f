"""Hyperbolic tangent (as an activation: LeCun, Bottou, Orr, Müller, 1998). Backward: ``dx = dout (1 - tanh(x)^2)``."""

from __future__ import annotations

from ...backend.arrays import Array, array_module
from ..contract.op import op
from .caches import OutputCache


class TanhCache(OutputCache):
    """Saved for the backward."""


@op("x: *N")
def tanh_forward(x: Array) -> tuple[Array, TanhCache]:
    """Map x (...,) to the hyperbolic tangent of each element, in [-1, 1]."""
    out = array_module(x).tanh(x)
    return out, TanhCache(out)


@op("cache.out: *N; dout: *N")
def tanh_backward(dout: Array, cache: TanhCache) -> Array:
    """Gradient of the hyperbolic tangent: dout (...,) to dx (...,)."""
    return dout * (1 - cache.out * cache.out)  # type: ignore[no-any-return]
