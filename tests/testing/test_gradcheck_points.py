"""Points that are hard to differentiate numerically: right gradients pass there, and wrong ones do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from minitrain.testing import GradientMismatch, check_gradients
from tests.testing.test_gradcheck import softmax, softmax_backward

rng = np.random.default_rng(11)
NORMAL = rng.standard_normal(12)
MIXED = np.array([-1e6, -31.0, -1.0, -1e-3, 1e-6, 1e-3, 0.5, 2.0, 1e3, 1e6])
POSITIVE = abs(MIXED)


def elementwise(f: Callable[[Any], Any], derivative: Callable[[Any], Any]) -> Any:
    """The pair of a function of each element."""
    return (lambda x: (f(x), x)), (lambda dout, x: dout * derivative(x))


def log_sum_exp(x):
    top = x.max(axis=-1, keepdims=True)
    e = np.exp(x - top)
    total = e.sum(axis=-1, keepdims=True)
    return (top + np.log(total))[..., 0], e / total


def log_sum_exp_backward(dout, softmax):
    return dout[..., None] * softmax


def norm(x):
    length = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return x / length, (x / length, length)


def norm_backward(dout, cache):
    y, length = cache
    return (dout - y * (dout * y).sum(axis=-1, keepdims=True)) / length


def largest(x):
    """The maximum of each row; equal elements share its gradient."""
    top = x.max(axis=-1, keepdims=True)
    return top[..., 0], x == top


def largest_backward(dout, hit):
    return dout[..., None] * hit / hit.sum(axis=-1, keepdims=True)


def first_largest_backward(dout, hit):
    """Of equal elements, the first gets all."""
    dx = np.zeros(hit.shape)
    np.put_along_axis(dx, hit.argmax(axis=-1, keepdims=True), dout[..., None], axis=-1)
    return dx


SINE = elementwise(np.sin, np.cos)
ROOT = elementwise(np.sqrt, lambda x: 0.5 / np.sqrt(x))
LOG = elementwise(np.log, lambda x: 1 / x)
INVERSE = elementwise(lambda x: 1 / x, lambda x: -1 / x**2)
RELU = elementwise(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0)
ABS = elementwise(abs, np.sign)
CLIP = elementwise(lambda x: x.clip(-1, 1), lambda x: (abs(x) < 1) * 1.0)
CUBE = elementwise(lambda x: x**3, lambda x: 3 * x**2)
TANH = elementwise(np.tanh, lambda x: 1 / np.cosh(x) ** 2)
XLOGX = elementwise(lambda x: special.xlogy(x, x), lambda x: np.log(x) + 1)
LSE, SOFTMAX = (log_sum_exp, log_sum_exp_backward), (softmax, softmax_backward)

MEDIAN = (lambda x: (np.median(x), x)), (lambda dout, x: dout * (x == np.median(x)))
SIGNED_ROOT = elementwise(
    lambda x: np.sqrt(abs(x)), lambda x: np.where(x == 0, 0, np.sign(x) / 2 / np.sqrt(abs(x) + (x == 0)))
)


def product(x):
    return np.prod(x), x


def product_backward(dout, x):
    return dout * np.array([np.prod(np.delete(x, i)) for i in range(x.size)])


RIGHT: dict[str, tuple[Any, Any]] = {
    "log-sum-exp at 1e4": (LSE, 1e4 + NORMAL.reshape(3, 4)),
    "log-sum-exp at 1e8": (LSE, 1e8 + NORMAL.reshape(3, 4)),
    "log-sum-exp spread by 1e4": (LSE, 1e4 * NORMAL.reshape(3, 4)),
    "log-sum-exp at -1e4": (LSE, -1e4 + NORMAL.reshape(3, 4)),
    "sin at 1e6": (SINE, 1e6 + NORMAL),
    "sin at 1e9": (SINE, 1e9 + NORMAL),
    "sin of 1e4 x": (elementwise(lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x)), NORMAL),
    "a sine whose period is the step": (
        elementwise(lambda x: np.sin(2e4 * np.pi * x), lambda x: 2e4 * np.pi * np.cos(2e4 * np.pi * x)),
        np.array([1.0, 0.5, 0.25]),
    ),
    "sqrt at 1e-3": (ROOT, np.full(3, 1e-3)),
    "sqrt at 1e-6": (ROOT, np.array([1e-6, 2e-6])),
    "sqrt from 1e-12 to 1e12": (ROOT, np.logspace(-12, 12, 9)),
    "sqrt from 1e-12 to 1e12, 5000 elements": (ROOT, np.logspace(-12, 12, 5000)),
    "1/x at 1e-3": (INVERSE, np.array([1e-3, -1e-3])),
    "1/x near 0": (INVERSE, np.array([1e-9, -1e-7, 1e-5, 3.0])),
    "1/x**2 near 0": (elementwise(lambda x: x**-2, lambda x: -2 * x**-3), np.array([1e-9, -1e-4, 2.0])),
    "log at 1e-5": (LOG, np.array([1e-5, 1.0])),
    "log from 1e-300 to 1e300": (LOG, np.logspace(-300, 300, 7)),
    "log1p near -1": (elementwise(np.log1p, lambda x: 1 / (1 + x)), np.array([-1 + 1e-9, -0.999, 1e-12, 0.0, 1e5])),
    "expm1": (elementwise(np.expm1, np.exp), np.array([-700.0, -1e-12, 0.0, 1e-8, 1.0, 50.0])),
    "exp of tiny and large": (elementwise(np.exp, np.exp), np.array([-700.0, -30.0, 0.0, 30.0, 300.0])),
    "tan near a pole": (elementwise(np.tan, lambda x: 1 / np.cos(x) ** 2), np.pi / 2 - np.array([1e-6, 1e-3, -1e-4])),
    "arcsin near 1": (elementwise(np.arcsin, lambda x: 1 / np.sqrt(1 - x * x)), np.array([1 - 1e-9, -1 + 1e-6, 0.0])),
    "arctanh near 1": (elementwise(np.arctanh, lambda x: 1 / (1 - x * x)), np.array([1 - 1e-8, 0.5, -0.9999])),
    "softplus": (elementwise(lambda x: np.logaddexp(0, x), special.expit), MIXED),
    "sigmoid, saturated": (
        elementwise(special.expit, lambda x: special.expit(x) * special.expit(-x)),
        np.array([-700.0, -40.0, 0.0, 20.0, 36.0]),
    ),
    "tanh, saturated": (TANH, np.array([-300.0, -18.0, 0.0, 1e-9, 5.0, 15.0])),
    "erfc, far out": (
        elementwise(special.erfc, lambda x: -2 / np.sqrt(np.pi) * np.exp(-x * x)),
        np.array([-5.0, 0.0, 10.0, 26.0]),
    ),
    "a step function as steep as 1e8": (elementwise(lambda x: np.tanh(1e8 * x), lambda x: 1e8 / np.cosh(1e8 * x) ** 2),
        np.array([1e-10, -3e-9, 0.0])),
    "a bump as narrow as 1e-8": (
        elementwise(lambda x: np.exp(-((1e8 * x) ** 2)), lambda x: -2e16 * x * np.exp(-((1e8 * x) ** 2))),
        np.array([1e-9, -5e-9, 0.3]),
    ),
    "softmax of large logits": (SOFTMAX, np.array([[0.0, 30.0, -50.0], [1e4, 1e4 + 1, 0.0]])),
    "softmax with -inf": (SOFTMAX, np.array([[0.0, -np.inf, 1.0], [2.0, 0.5, -np.inf]])),
    "softmax of a row of one": (SOFTMAX, NORMAL[:, None]),
    "length one of tiny and large rows": ((norm, norm_backward), np.outer([1e-9, 1e-3, 1.0, 1e7], NORMAL[:4])),
    "cubes of mixed scales": (CUBE, MIXED),
    "tiny everything": (elementwise(lambda x: 1e-30 * x**2, lambda x: 2e-30 * x), NORMAL),
    "large everything": (elementwise(lambda x: 1e30 * x**2, lambda x: 2e30 * x), NORMAL),
    "a large constant beside": (elementwise(lambda x: x + 1e8, lambda x: 1 + 0 * x), NORMAL),
    "a large constant that cancels": (elementwise(lambda x: np.sin(x + 1e6), lambda x: np.cos(x + 1e6)), NORMAL),
    "rounded on the way": (elementwise(lambda x: (x * x + 1e8) - 1e8, lambda x: 2 * x), NORMAL),
    "constant": (elementwise(lambda x: 0 * x + 3, lambda x: 0 * x), NORMAL),
    "zero": (elementwise(lambda x: 0 * x, lambda x: 0 * x), NORMAL),
    "piecewise constant": (elementwise(np.floor, lambda x: 0 * x), NORMAL),
    "centred, whose sum is always 0": ((lambda x: (x - x.mean(), None), lambda dout, _: dout - dout.mean()), NORMAL),
    "its sum": ((lambda x: ((x - x.mean()).sum(), None), lambda dout, _: 0 * dout * NORMAL), NORMAL),
    "ReLU over 20,000 normal elements": (RELU, rng.standard_normal(20_000)),
    "ReLU of which half is 0": (RELU, np.maximum(rng.standard_normal(5_000), 0)),
    "ReLU of zeros": (RELU, np.zeros((30, 40))),
    "ReLU beside a kink": (RELU, np.array([1e-9, -1e-7, 1e-5, 1e-3])),
    "abs over 20,000 normal elements": (ABS, rng.standard_normal(20_000)),
    "abs at 0": (ABS, np.array([0.0, 1.0, -2.0])),
    "abs near 0": (ABS, np.array([1e-8, -1e-6])),
    "clip at its border": (CLIP, np.array([-1.0, 1.0, 0.3, 4.0, 1 - 1e-7])),
    "clip over 20,000 elements": (CLIP, rng.standard_normal(20_000)),
    "distance from a line": (elementwise(lambda x: abs(x - 0.25), lambda x: np.sign(x - 0.25)), np.array([0.25, 0.25])),
    "max with ties, shared": ((largest, largest_backward), np.array([[1.0, 1.0, 0.5], [2.0, 2.0, 2.0]])),
    "max with ties, the first": ((largest, first_largest_backward), np.array([[1.0, 1.0, 0.5], [2.0, 2.0, 2.0]])),
    "max of 40 equal rows": ((largest, largest_backward), np.ones((40, 3))),
    "max of small integers": ((largest, largest_backward), rng.integers(0, 4, (50, 8)).astype(float)),
    "quantised inputs": (ABS, np.round(rng.standard_normal((60, 40)), 1)),
    "sqrt at 0": (ROOT, np.array([0.0, 1.0, 4.0])),
    "sqrt(abs) at 0, symmetric": (SIGNED_ROOT, np.array([0.0, 1.0, -4.0])),
    "x ** 1.5 at 0": (elementwise(lambda x: x**1.5, lambda x: 1.5 * x**0.5), np.array([0.0, 1e-6, 2.0])),
    "x log x at 0": (XLOGX, np.array([0.0, 1e-9, 0.5, 1.0])),
    "arcsin at 1": (elementwise(np.arcsin, lambda x: 1 / np.sqrt(1 - x * x)), np.array([1.0, -1.0, 0.5])),
    "zeros in a product": ((product, product_backward), np.array([0.0, 2.0, 3.0])),
    "a floor at its jump": (elementwise(np.floor, lambda x: 0 * x), np.array([1.0, 2.5])),
    "a median, which others do not move": (MEDIAN, NORMAL[:7]),
    "nothing": (RELU, np.zeros((0, 3))),
}  # fmt: skip


@pytest.mark.parametrize(("pair", "x"), RIGHT.values(), ids=RIGHT)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_right_gradients_pass_at_hard_points(pair, x):
    check_gradients(pair, x)


@pytest.mark.parametrize(
    ("pair", "x"), [c for c in RIGHT.values() if c[1].size], ids=[n for n, c in RIGHT.items() if c[1].size]
)
@pytest.mark.parametrize("where", ["all", "one"])
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_a_factor_of_1_001_is_seen_at_hard_points(pair, x, where):
    """In all elements, or only in the one whose gradient is largest."""
    forward, backward = pair

    def wrong(dout, cache):
        dx = np.array(backward(dout, cache))
        if where == "all":
            return 1.001 * dx
        finite = np.where(np.isfinite(dx), abs(dx), 0)
        dx.flat[finite.argmax()] *= 1.001
        return dx

    if is_undetermined(forward, x, backward):
        check_gradients((forward, wrong), x)
    else:
        with pytest.raises(GradientMismatch):
            check_gradients((forward, wrong), x)


def is_undetermined(forward, x, backward):
    out, cache = forward(x)
    dx = backward(np.random.default_rng(0).standard_normal(np.shape(out)), cache)
    return not dx.any()
