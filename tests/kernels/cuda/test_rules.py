"""CUDA twins of optimizers' updates and of the global norm, in the emulator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitrain.backend import use_kernels
from minitrain.optim.clip import sum_of_squares
from minitrain.optim.rules.adam import adam_update
from minitrain.optim.rules.lion import lion_update
from minitrain.optim.rules.muon import COEFFICIENTS, muon_update
from tests.helpers.cuda import emulated, launch, needs_compiler

pytestmark = needs_compiler

SIZES = st.sampled_from([1, 3, 4, 31, 256, 1000, 1024, 2053])
ADAM = [
    {"decoupled": True, "weight_decay": 0.1, "mix": None},
    {"decoupled": False, "weight_decay": 0.1, "mix": None},
    {"decoupled": False, "weight_decay": 0.0, "mix": (1.1, 0.3)},
]


def arrays(size, count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size).astype(np.float32) for _ in range(count)]


def assert_same_update(update, given_, **options):
    """The twin changes the arrays as the reference does; gradients, the second, stay as they are."""
    expected, found = [x.astype(np.float64) for x in given_], [x.copy() for x in given_]
    update.reference(*expected, **options)
    with emulated():
        assert launch(update.twin("cuda"), *found, **options) is None
    np.testing.assert_array_equal(found[1], given_[1])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    return found


@settings(max_examples=10)
@given(SIZES, st.sampled_from(ADAM), st.integers(1, 100))
def test_adam(size, kind, step):
    weight, grad, m, v = arrays(size, 4)
    options = dict(step=step, lr=1e-2, beta1=0.9, beta2=0.99, eps=1e-8, grad_scale=0.5, **kind)
    assert_same_update(adam_update, [weight, grad, m, abs(v)], **options)


@settings(max_examples=10)
@given(SIZES)
def test_lion(size):
    weight, grad, m = arrays(size, 3)
    m[0] = grad[0] = 0  # no direction
    options = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.1, "grad_scale": 0.5}
    found = assert_same_update(lion_update, [weight, grad, m], **options)
    assert found[0][0] == weight[0] * np.float32(1 - 1e-3)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(5, 7), (33, 8), (1, 4)])
def test_muon(shape, nesterov):
    weight, grad, buffer = (x.reshape(shape) for x in arrays(shape[0] * shape[1], 3))
    options = {
        "lr": 1e-2, "momentum": 0.9, "nesterov": nesterov, "ns_steps": 5, "coefficients": COEFFICIENTS, "eps": 1e-7,
        "scale": 1.5, "weight_decay": 0.1, "grad_scale": 0.5,
    }  # fmt: skip
    assert_same_update(muon_update, [weight, grad, buffer], **options)


@settings(max_examples=8)
@given(SIZES, st.integers(0, 1000))
def test_sum_of_squares(size, seed):
    (x,) = arrays(size, 1, seed)
    with emulated():
        found = launch(sum_of_squares.twin("cuda"), x)
    with use_kernels("reference"):
        np.testing.assert_allclose(float(found), sum_of_squares(x), rtol=1e-12)


def test_nan_reaches_the_norm():
    x = np.ones(2053, np.float32)
    x[2000] = np.nan
    with emulated():
        assert np.isnan(float(launch(sum_of_squares.twin("cuda"), x)))
