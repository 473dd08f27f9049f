"""Activations: value and slope of an element, and GELU of a chunk that is still in cache.

A caller that uses only the value or the slope pays only for that one: LLVM drops the arithmetic of the other.
"""

from __future__ import annotations

import numpy as np

from ....backend.cpu.jit import device
from .math import exp_within_40, normal_cdf_pdf, wide_vectors

f4 = np.float32
SQRT_2_OVER_PI = f4(0.7978845608)
CUBIC = f4(0.044715)


@device
def _logistic(u):
    """``s = 1 / (1 + e**-u)``, and ``1 - s`` as ``e**-u s``: their difference loses digits where s is nearly 1.

    Beyond 40 and -40 both are as good as 0 and 1. There s is 0 or 1, since denormal numbers would slow down the next
    product, and ``1 - s``, which callers multiply by s, is 0. NaN may be lost: callers multiply by u, too.
    """
    e = exp_within_40(-u)
    e = f4(0) if abs(u) > f4(40) else e
    y = f4(1) / (f4(1) + e)
    s = f4(0) if u < f4(-40) else y
    return s, e * s


@device
def silu(x):
    """``x s(x)`` with s the logistic function, and its slope."""
    s, rest = _logistic(x)
    return x * s, s * (f4(1) + x * rest)


@device
def gelu_tanh(x):
    """GELU in the form with tanh, and its slope."""
    u = f4(2) * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)
    cdf, rest = _logistic(u)  # (1 + tanh(u / 2)) / 2 is the logistic function of u
    slope = f4(2) * cdf * rest * SQRT_2_OVER_PI * (f4(1) + f4(3) * CUBIC * x * x)
    return x * cdf, cdf + x * slope


@device
def gelu_erf(x):
    """GELU, and its slope."""
    cdf, pdf = normal_cdf_pdf(x)
    return x * cdf, cdf + x * pdf


@device
def gated_gradients(dout, up, activated, slope):
    """Gradients of ``activated * up`` with respect to the gate, whose activation has ``slope``, and to ``up``."""
    return dout * up * slope, dout * activated


@device
def gelu(x, out, tanh):
    """GELU of ``x`` (n,) into ``out`` (n,)."""
    wide_vectors()
    if tanh:
        for i in range(x.size):
            out[i], _ = gelu_tanh(x[i])
    else:
        for i in range(x.size):
            out[i], _ = gelu_erf(x[i])


@device
def gelu_gradient(dout, x, dx, beta, tanh):
    """Gradient of GELU at ``x`` (n,) into ``dx`` (n,), added if ``beta`` is not 0."""
    wide_vectors()
    if tanh:
        for i in range(x.size):
            _, slope = gelu_tanh(x[i])
            d = dout[i] * slope
            dx[i] = d + dx[i] if beta != 0 else d
    else:
        for i in range(x.size):
            _, slope = gelu_erf(x[i])
            d = dout[i] * slope
            dx[i] = d + dx[i] if beta != 0 else d


@device
def gelu_over_gradient(d, x, dx, beta, tanh):
    """Like ``gelu_gradient`` with ``d`` (n,) as ``dout``. Afterwards ``d`` is overwritten by GELU of ``x``."""
    wide_vectors()
    if tanh:
        for i in range(x.size):
            y, slope = gelu_tanh(x[i])
            g = d[i] * slope
            dx[i] = g + dx[i] if beta != 0 else g
            d[i] = y
    else:
        for i in range(x.size):
            y, slope = gelu_erf(x[i])
            g = d[i] * slope
            dx[i] = g + dx[i] if beta != 0 else g
            d[i] = y
