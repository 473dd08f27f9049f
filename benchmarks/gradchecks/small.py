"""Twelve errors that are small, or that stand in a small gradient, and five of single precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import operations as op
from .case import Case, always, normal

X, W = normal(3, 4), 1 + 0.3 * normal(4, seed=1)


def times(factor: float) -> Callable[..., Any]:
    return lambda dout, x: 2 * factor * x * dout


def rms_norm_without_eps(dout: Any, cache: Any) -> Any:
    """The eps left out of the derivative: right but for a share of about 1e-5."""
    x, _, weight = cache
    rstd = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True))
    return op.rms_norm_backward(dout, (x, rstd, weight))


def gelu_rounded_constant(dout: Any, x: Any) -> Any:
    c = 0.79788  # for 0.7978845608
    t = np.tanh(c * (x + 0.044715 * x**3))
    return dout * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x))


def scaled(x: Any) -> Any:
    """A function whose gradient is about 1e-6, such as that of a loss divided by its number of tokens."""
    return 1e-6 * x * x, x


def scaled_wrong_sign(dout: Any, x: Any) -> Any:
    return -2e-6 * x * dout


def scaled_zero(dout: Any, x: Any) -> Any:
    return np.zeros_like(x)


def offset(dout: Any, x: Any) -> Any:
    return 2 * x * dout + 4e-6


def saturated(dout: Any, y: Any) -> Any:
    """Of a softmax whose second probability is 1e-5: that one's gradient has the wrong sign."""
    dx = op.softmax_backward(dout, y)
    return np.where(y < 1e-3, -dx, dx)


def damped_oscillation(x: Any) -> Any:
    return np.sin(x) + 1e-5 * np.sin(40 * x), x


def without_small_term(dout: Any, x: Any) -> Any:
    return dout * np.cos(x)


def mixed_scales(x: Any) -> Any:
    return x * np.array([1.0, 1e-7, 1.0, 1e-7]), None


def mixed_scales_wrong(dout: Any, _: None) -> Any:
    return dout * np.array([1.0, 2e-7, 1.0, 1e-7])


def stable_log(x: Any) -> Any:
    return np.log(x + 1e-6), x


def stable_log_without_eps(dout: Any, x: Any) -> Any:
    return dout / x


# Single precision in the middle of a float64 backward.


def single_gradient(dout: Any, x: Any) -> Any:
    return (2 * x * dout).astype(np.float32).astype(np.float64)


def bias(x: Any, b: Any) -> Any:
    return x + b, None


def single_sum(dout: Any, _: None) -> Any:
    """One running sum in float32 over all rows."""
    total = np.zeros(dout.shape[1], np.float32)
    for row in dout.astype(np.float32):
        total = total + row
    return dout, total.astype(np.float64)


def single_buffer(dout: Any, cache: Any) -> Any:
    dx, dweight = op.rms_norm_backward(dout, cache)
    return dx, dweight.astype(np.float32).astype(np.float64)


def single_cache(x: Any) -> Any:
    y, _ = op.softmax(x)
    return y, y.astype(np.float32)


def variance(x: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return (centred**2).mean(axis=-1), x


def cancelling(dout: Any, x: Any) -> Any:
    """The deviation from the mean of numbers near 3000, in float32: three digits are left."""
    single = x.astype(np.float32)
    centred = (single - single.mean(axis=-1, keepdims=True)).astype(np.float64)
    return dout[..., None] * 2 * centred / x.shape[-1]


SMALL = [
    ("a factor of 1 + 2e-6", op.square, times(1 + 2e-6), (X,)),
    ("a factor of 1 + 1e-5", op.square, times(1 + 1e-5), (X,)),
    ("a factor of 1 + 5e-4", op.square, times(1 + 5e-4), (X,)),
    ("RMS norm: eps left out of the derivative", op.rms_norm, rms_norm_without_eps, (X, W)),
    ("GELU: a constant of five digits", op.gelu, gelu_rounded_constant, (X,)),
    ("a gradient of 1e-6: wrong sign", scaled, scaled_wrong_sign, (X,)),
    ("a gradient of 1e-6: zero", scaled, scaled_zero, (X,)),
    ("4e-6 added to every element", op.square, offset, (X,)),
    ("softmax: wrong sign at probabilities of 1e-5", op.softmax, saturated, (np.array([[0.0, -11.5, 0.3]]),)),
    ("a small second term is missing", damped_oscillation, without_small_term, (X,)),
    ("one weight of 1e-7 counted twice", mixed_scales, mixed_scales_wrong, (X,)),
    ("log(x + eps): eps left out of the derivative", stable_log, stable_log_without_eps, (abs(X) + 0.1,)),
]
SINGLE = [
    ("the gradient rounded to float32", op.square, single_gradient, (X,)),
    ("the bias summed in float32 over 20,000 rows", bias, single_sum, (normal(20_000, 2), normal(2, seed=1))),
    ("a float32 buffer for one of two gradients", op.rms_norm, single_buffer, (X, W)),
    ("a float32 cache", single_cache, lambda dout, y: op.softmax_backward(dout, y.astype(np.float64)), (X,)),
    ("deviations from a mean of 3000 in float32", variance, cancelling, (3000 + X,)),
]
CASES = [Case(name, "small", always(f, b), inputs) for name, f, b, inputs in SMALL]
CASES += [Case(name, "float32", always(f, b), inputs) for name, f, b, inputs in SINGLE]
