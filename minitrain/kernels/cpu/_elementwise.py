"""GELU on a stretch of memory: used alone, and on blocks of a product that are still in cache."""

from __future__ import annotations

import numpy as np

from ...backend.jit import device
from ._math import exp, normal_cdf_pdf, wide_vectors

f4 = np.float32
SQRT_2_OVER_PI = f4(0.7978845608)
CUBIC = f4(0.044715)


@device
def _logistic(u):
    """1 / (1 + e**-u), and 0 below -40: numbers too small to be normal would slow the next product."""
    y = f4(1) / (f4(1) + exp(-u))
    return f4(0) if u < f4(-40) else y


@device
def gelu(x, out, tanh):
    """GELU of ``x`` (n,) into ``out`` (n,)."""
    wide_vectors()
    if tanh:
        for i in range(x.size):
            u = SQRT_2_OVER_PI * (x[i] + CUBIC * x[i] * x[i] * x[i])
            out[i] = x[i] * _logistic(f4(2) * u)  # (1 + tanh(u)) / 2 is the logistic function of 2u
    else:
        for i in range(x.size):
            cdf, _ = normal_cdf_pdf(x[i])
            out[i] = x[i] * cdf


@device
def gelu_gradient(dout, x, dx, beta, tanh):
    """Gradient of GELU at ``x`` (n,) into ``dx`` (n,), added if ``beta`` is not 0."""
    wide_vectors()
    if tanh:
        for i in range(x.size):
            u = SQRT_2_OVER_PI * (x[i] + CUBIC * x[i] * x[i] * x[i])
            cdf = _logistic(f4(2) * u)
            slope = f4(2) * cdf * (f4(1) - cdf) * SQRT_2_OVER_PI * (f4(1) + f4(3) * CUBIC * x[i] * x[i])
            d = dout[i] * (cdf + x[i] * slope)
            dx[i] = d + dx[i] if beta != 0 else d
    else:
        for i in range(x.size):
            cdf, pdf = normal_cdf_pdf(x[i])
            d = dout[i] * (cdf + x[i] * pdf)
            dx[i] = d + dx[i] if beta != 0 else d
