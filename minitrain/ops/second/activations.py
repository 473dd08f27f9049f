"""Backwards of the backwards of element-wise functions and of softmax.

An element-wise f has the backward ``dx = dout f'(x)``, which is a product::

    ddout = ddx f'(x)        dx = ddx dout f''(x)

Each function below says what f' and f'' are. A gated unit ``out = f(gate) * up`` is a product of two such inputs.
"""

from __future__ import annotations

from typing import NamedTuple

from ...backend.arrays import Array, array_module
from ..activations import gelu as gelu_module
from ..activations.geglu import GegluCache
from ..activations.gelu import GeluCache, distribution, slope_of_distribution
from ..activations.relu import ReluCache
from ..activations.sigmoid import SigmoidCache, sigmoid_forward
from ..activations.silu import SiluCache
from ..activations.softmax import SoftmaxCache
from ..activations.softplus import SoftplusCache
from ..activations.swiglu import SwigluCache
from ..activations.tanh import TanhCache
from .pairs import second_order, zeros_like


class Curve(NamedTuple):
    """A function of each element and its derivatives."""

    value: Array
    slope: Array
    curvature: Array


def silu_curve(x: Array) -> Curve:
    """``x s(x)``: the slope is ``s + x s'``, its derivative ``2 s' + x s''``, with ``s'' = s' (1 - 2 s)``."""
    s, _ = sigmoid_forward.reference(x)
    ds = s * (1 - s)
    return Curve(x * s, s + x * ds, ds * (2 + x * (1 - 2 * s)))


def gelu_curve(x: Array, approximate: str) -> Curve:
    """``x c(x)`` with the distribution function c: the slope is ``c + x c'``, its derivative ``2 c' + x c''``.

    In the exact form c' is the normal density and ``c'' = -x c'``. In the tanh form ``c = s(2u)`` and
    ``c' = 2 c (1 - c) u'``, so ``c'' = 2 c' (1 - 2 c) u' + 2 c (1 - c) u''``.
    """
    cdf = distribution(x, approximate)
    slope = slope_of_distribution(x, cdf, approximate)
    if approximate != "tanh":
        return Curve(x * cdf, cdf + x * slope, slope * (2 - x * x))
    k, cubic = gelu_module.SQRT_2_OVER_PI, gelu_module.CUBIC
    du, ddu = k * (1 + 3 * cubic * x * x), 6 * k * cubic * x
    bend = 2 * slope * (1 - 2 * cdf) * du + slope / du * ddu
    return Curve(x * cdf, cdf + x * slope, 2 * slope + x * bend)


def element_second(ddx: Array, dout: Array, curve: Curve) -> tuple[Array, Array]:
    """The pair of a curve: ddx (...,) and dout (...,) to ddout (...,) and dx (...,)."""
    return ddx * curve.slope, ddx * dout * curve.curvature


def gated_second(ddgate: Array, ddup: Array, dout: Array, up: Array, curve: Curve) -> tuple[Array, Array, Array]:
    """Of ``f(gate) * up``: all (...,) to ddout, dgate and dup."""
    ddout = ddgate * up * curve.slope + ddup * curve.value
    dgate = dout * (ddgate * up * curve.curvature + ddup * curve.slope)
    return ddout, dgate, dout * ddgate * curve.slope


@second_order
def relu_backward_backward(ddx: Array, dout: Array, cache: ReluCache) -> tuple[Array, Array]:
    """The slope is 0 or 1 and does not change, but at the kink: ddx (...,), dout (...,) to ddout (...,), dx = 0."""
    return array_module(ddx).where(cache.out > 0, ddx, 0), zeros_like(ddx)


@second_order
def tanh_backward_backward(ddx: Array, dout: Array, cache: TanhCache) -> tuple[Array, Array]:
    """``f' = 1 - y^2`` and ``f'' = -2 y f'``: ddx (...,), dout (...,) to ddout (...,), dx (...,)."""
    y = cache.out
    slope = 1 - y * y
    return element_second(ddx, dout, Curve(y, slope, -2 * y * slope))


@second_order
def sigmoid_backward_backward(ddx: Array, dout: Array, cache: SigmoidCache) -> tuple[Array, Array]:
    """``f' = s (1 - s)`` and ``f'' = f' (1 - 2 s)``: ddx (...,), dout (...,) to ddout (...,), dx (...,)."""
    s = cache.out
    slope = s * (1 - s)
    return element_second(ddx, dout, Curve(s, slope, slope * (1 - 2 * s)))


@second_order
def softplus_backward_backward(ddx: Array, dout: Array, cache: SoftplusCache) -> tuple[Array, Array]:
    """``f' = s(x)`` and ``f'' = s (1 - s)``: ddx (...,), dout (...,) to ddout (...,), dx (...,)."""
    s, _ = sigmoid_forward.reference(cache.x)
    return element_second(ddx, dout, Curve(cache.x, s, s * (1 - s)))


@second_order
def silu_backward_backward(ddx: Array, dout: Array, cache: SiluCache) -> tuple[Array, Array]:
    """See `silu_curve`: ddx (...,), dout (...,) to ddout (...,), dx (...,)."""
    return element_second(ddx, dout, silu_curve(cache.x))


@second_order
def gelu_backward_backward(ddx: Array, dout: Array, cache: GeluCache) -> tuple[Array, Array]:
    """See `gelu_curve`: ddx (...,), dout (...,) to ddout (...,), dx (...,)."""
    return element_second(ddx, dout, gelu_curve(cache.x, cache.approximate))


@second_order
def swiglu_backward_backward(ddgate: Array, ddup: Array, dout: Array, cache: SwigluCache) -> tuple[Array, Array, Array]:
    """Of ``silu(gate) * up``: all (...,) to ddout, dgate and dup."""
    return gated_second(ddgate, ddup, dout, cache.up, silu_curve(cache.gate))


@second_order
def geglu_backward_backward(ddgate: Array, ddup: Array, dout: Array, cache: GegluCache) -> tuple[Array, Array, Array]:
    """Of ``gelu(gate) * up``: all (...,) to ddout, dgate and dup."""
    return gated_second(ddgate, ddup, dout, cache.up, gelu_curve(cache.gate, cache.approximate))


@second_order
def softmax_backward_backward(ddx: Array, dout: Array, cache: SoftmaxCache) -> tuple[Array, Array]:
    """The backward of ``dx = y (dout - sum(dout y))``, which holds y three times.

    With means weighted by y, ``m(a) = sum(a y)``, the sum of ``ddx * dx`` is ``m(ddx dout) - m(ddx) m(dout)``: a
    covariance. Its derivative by y goes through the softmax once more::

        dy = ddx dout - ddx m(dout) - dout m(ddx)        dx = y (dy - m(dy))

    Maps ddx (..., C) and dout (..., C) to ddout (..., C) and dx (..., C).
    """
    y = cache.out

    def jacobian(a: Array) -> Array:
        return y * (a - (a * y).sum(axis=-1, keepdims=True))  # type: ignore[no-any-return]

    mean_u, mean_d = (ddx * y).sum(axis=-1, keepdims=True), (dout * y).sum(axis=-1, keepdims=True)  # (..., 1)
    return jacobian(ddx), jacobian(ddx * dout - ddx * mean_d - dout * mean_u)
