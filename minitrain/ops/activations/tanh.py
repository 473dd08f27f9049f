"""Hyperbolic tangent (as an activation: LeCun, Bottou, Orr, Müller, 1998). Backward: ``dx = dout (1 - tanh(x)^2)``."""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..contract.op import op


class TanhCache(NamedTuple):
    """What the backward needs."""

    out: Array  # (...,) the output


@op("x: *N")
def tanh_forward(x: Array) -> tuple[Array, TanhCache]:
    """The hyperbolic tangent of each element.

    Args:
        x: (...,) input.

    Returns:
        out (...,) in [-1, 1] and the cache.
    """
    out = array_module(x).tanh(x)
    return out, TanhCache(out)


@op("cache.out: *N; dout: *N")
def tanh_backward(dout: Array, cache: TanhCache) -> Array:
    """Gradient of the hyperbolic tangent.

    Args:
        dout: (...,) gradient of the output.
        cache: from the forward.

    Returns:
        dx (...,).
    """
    return dout * (1 - cache.out * cache.out)  # type: ignore[no-any-return]
